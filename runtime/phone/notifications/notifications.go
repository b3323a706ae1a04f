// Package notifications is the Darwin notification centre of the phone.
package notifications

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/queue"
)

// Names of the Darwin notifications that the model posts by itself.
const (
	// DeviceName follows a change of DeviceName.
	DeviceName = "com.apple.mobile.lockdown.device_name_changed"
	// TimeZone follows a change of TimeZone.
	TimeZone = "com.apple.mobile.lockdown.timezone_changed"
	// Language follows a change of the language.
	Language = "com.apple.language.changed"
	// Activation follows a change of ActivationState.
	Activation = "com.apple.mobile.lockdown.activation_state"
	// DiskUsage follows the installation or removal of an app.
	DiskUsage = "com.apple.mobile.lockdown.disk_usage_changed"
	// RequestPair tells hosts to pair again, because the user has tapped Trust.
	RequestPair = "com.apple.mobile.lockdown.request_pair"
	// RequestHostBUID asks hosts for their SystemBUID.
	RequestHostBUID = "com.apple.mobile.lockdown.request_host_buid"
	// HostAttached follows the plugging in of the cable.
	HostAttached = "com.apple.mobile.lockdown.host_attached"
	// HostDetached follows the unplugging of the cable.
	HostDetached = "com.apple.mobile.lockdown.host_detached"
	// TrustedHostAttached follows a session of a paired host.
	TrustedHostAttached = "com.apple.mobile.lockdown.trusted_host_attached"
	// AppInstalled follows Apps.Install.
	AppInstalled = "com.apple.mobile.application_installed"
	// AppUninstalled follows Apps.Remove.
	AppUninstalled = "com.apple.mobile.application_uninstalled"
	// Startup follows Phone.Boot, when the home screen is up.
	Startup = "com.apple.springboard.finishedstartup"
	// LockState follows Screen.Lock and Screen.Unlock.
	LockState = "com.apple.springboard.lockstate"
	// ImageMounted follows the mounting of a developer image.
	ImageMounted = "com.apple.mobile.developer_image_mounted"
	// SysdiagnoseStopped follows the end of a sysdiagnose, when its archive is complete.
	SysdiagnoseStopped = "com.apple.sysdiagnose.sysdiagnoseStopped"
)

// observerQueue is the number of notifications that wait for a slow observer.
const observerQueue = 256

// Center delivers notifications to observers. The zero value can be used. All methods may be
// called concurrently.
type Center struct {
	mu        sync.RWMutex
	observers map[*Observer]struct{}
}

// Post posts a Darwin notification to all observers of the name.
func (c *Center) Post(name string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for o := range c.observers {
		o.offer(name)
	}
}

// Observe returns an observer without names. The caller must close it.
func (c *Center) Observe() *Observer {
	o := &Observer{
		center: c, q: queue.New[string](observerQueue), names: map[string]struct{}{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.observers == nil {
		c.observers = map[*Observer]struct{}{}
	}
	c.observers[o] = struct{}{}
	return o
}

// Observer receives the notifications whose names were added to it.
type Observer struct {
	center *Center
	q      *queue.Queue[string]
	mu     sync.RWMutex
	names  map[string]struct{}
}

// Add begins to observe a name. Adding a name twice has no further effect.
func (o *Observer) Add(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names[name] = struct{}{}
}

// Remove stops observing a name. Notifications that are queued already are still
// delivered.
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
		o.q.Push(nil, name)
	}
}

// Next waits for the next notification. After Close it fails with
// net.ErrClosed.
func (o *Observer) Next(ctx context.Context) (string, error) {
	var one [1]string
	if _, err := o.q.Pop(ctx, one[:]); err != nil {
		return "", &failure.Error{Op: "next notification", Err: err}
	}
	return one[0], nil
}

// Dropped returns the number of notifications that were lost because the queue was
// full.
func (o *Observer) Dropped() uint64 { return o.q.Lost() }

// Close ends the observer and every Next that waits.
func (o *Observer) Close() {
	if o.q.Close() {
		o.center.mu.Lock()
		delete(o.center.observers, o)
		o.center.mu.Unlock()
	}
}
