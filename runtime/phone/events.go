package phone

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Names of the Darwin notifications that the model posts by itself.
const (
	// NoteDeviceName follows a change of DeviceName.
	NoteDeviceName = "com.apple.mobile.lockdown.device_name_changed"
	// NoteTimeZone follows a change of TimeZone.
	NoteTimeZone = "com.apple.mobile.lockdown.timezone_changed"
	// NoteLanguage follows a change of the language.
	NoteLanguage = "com.apple.language.changed"
	// NoteActivation follows a change of ActivationState.
	NoteActivation = "com.apple.mobile.lockdown.activation_state"
	// NoteDiskUsage follows the installation or removal of an app.
	NoteDiskUsage = "com.apple.mobile.lockdown.disk_usage_changed"
	// NoteRequestPair tells hosts that the user trusts: pair again now.
	NoteRequestPair = "com.apple.mobile.lockdown.request_pair"
	// NoteRequestHostBUID asks hosts for their SystemBUID.
	NoteRequestHostBUID = "com.apple.mobile.lockdown.request_host_buid"
	// NoteHostAttached and the others of its kind follow the cable.
	NoteHostAttached = "com.apple.mobile.lockdown.host_attached"
	// NoteHostDetached follows the unplugging of the cable.
	NoteHostDetached = "com.apple.mobile.lockdown.host_detached"
	// NoteTrustedHostAttached follows a session of a paired host.
	NoteTrustedHostAttached = "com.apple.mobile.lockdown.trusted_host_attached"
	// NoteAppInstalled follows AddApp.
	NoteAppInstalled = "com.apple.mobile.application_installed"
	// NoteAppUninstalled follows RemoveApp.
	NoteAppUninstalled = "com.apple.mobile.application_uninstalled"
	// NoteStartup follows Boot, when the home screen is up.
	NoteStartup = "com.apple.springboard.finishedstartup"
	// NoteLockState follows Lock and Unlock.
	NoteLockState = "com.apple.springboard.lockstate"
	// NoteImageMounted follows the mounting of a developer image.
	NoteImageMounted = "com.apple.mobile.developer_image_mounted"
)

// observerQueue is how many notifications wait for a slow observer.
const observerQueue = 256

// eventHub is the phone's notification centre.
type eventHub struct {
	mu        sync.RWMutex
	observers map[*Observer]struct{}
}

// Post posts a Darwin notification to all observers of the name, whoever
// they are.
func (p *Phone) Post(name string) {
	p.events.mu.RLock()
	defer p.events.mu.RUnlock()
	for o := range p.events.observers {
		o.offer(name)
	}
}

// ObserveNotifications returns an observer of no name yet. Close it.
func (p *Phone) ObserveNotifications() *Observer {
	o := &Observer{hub: &p.events, q: newQueue[string](observerQueue), names: map[string]struct{}{}}
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	if p.events.observers == nil {
		p.events.observers = map[*Observer]struct{}{}
	}
	p.events.observers[o] = struct{}{}
	return o
}

// Observer receives the notifications whose names it was given.
type Observer struct {
	hub   *eventHub
	q     *queue[string]
	mu    sync.RWMutex
	names map[string]struct{}
}

// Add begins to observe a name; twice is the same as once.
func (o *Observer) Add(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names[name] = struct{}{}
}

// Remove ends observing a name. What is queued already still arrives.
func (o *Observer) Remove(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.names, name)
}

// Names lists the observed names, sorted.
func (o *Observer) Names() []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.Sorted(maps.Keys(o.names))
}

func (o *Observer) offer(name string) {
	o.mu.RLock()
	_, ok := o.names[name]
	o.mu.RUnlock()
	if ok {
		o.q.push(nil, name)
	}
}

// Next waits for the next notification. After Close it fails with
// net.ErrClosed.
func (o *Observer) Next(ctx context.Context) (string, error) {
	var one [1]string
	if _, err := o.q.pop(ctx, one[:]); err != nil {
		return "", &Error{Op: "next notification", Err: err}
	}
	return one[0], nil
}

// Dropped counts the notifications lost because nobody called Next.
func (o *Observer) Dropped() uint64 { return o.q.lost() }

// Close ends the observer and every Next that waits.
func (o *Observer) Close() {
	if o.q.close() {
		o.hub.mu.Lock()
		delete(o.hub.observers, o)
		o.hub.mu.Unlock()
	}
}
