// Package apps has the installed apps, each with its bundle and its data container.
package apps

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// Kinds of apps, as ApplicationType says it.
const (
	// User is an app that the user installed.
	User = "User"
	// System is an app that came with iOS.
	System = "System"
	// Hidden is a system app without an icon.
	Hidden = "Hidden"
)

// Spec describes an app to install. BundleID is required.
type Spec struct {
	BundleID string
	// Name is CFBundleName and names the bundle directory; "" means
	// CFBundleName of Info, or else the last part of BundleID.
	Name string
	// DisplayName is CFBundleDisplayName; "" means that of Info, or Name.
	DisplayName string
	// Executable is CFBundleExecutable; "" means that of Info, or Name.
	Executable string
	// Version is CFBundleVersion, ShortVersion CFBundleShortVersionString;
	// "" means those of Info, or "1" and "1.0".
	Version, ShortVersion string
	// Type is User (also ""), System or Hidden.
	Type string
	// Developer apps are signed with get-task-allow.
	Developer bool
	// FileSharing is UIFileSharingEnabled, also taken from Info.
	FileSharing bool
	// Team is the team identifier of the signer; "" means one that is made up.
	Team string
	// StaticDiskUsage is the size of the bundle; 0 means 12 MiB.
	StaticDiskUsage uint64
	// Info is the app's Info.plist. Its keys appear among the attributes.
	Info plist.Dict
}

// App is an installed app.
type App struct {
	id   *identity.Identity
	spec Spec
	seq  int64
	uuid string // of the bundle's container
	data *container
}

// container is the data container. It outlives the App when a new version is
// installed over it.
type container struct {
	uuid string
	fs   *files.FS
}

// Options of Apps.
type Options struct {
	Identity      *identity.Identity
	Clock         *clock.Clock
	Volume        *files.Volume
	Log           *log.Log
	Notifications *notifications.Center
	// Gone is called when an app was removed, or replaced by another version.
	Gone func(bundleID string)
}

// Apps holds the installed apps, which are made at the first use. All methods may be called
// concurrently.
type Apps struct {
	o Options

	mu   sync.RWMutex
	byID map[string]*App
	seq  int64
	// keepApps prohibits hosts to remove apps.
	keepApps bool
}

// New returns the apps of a new phone.
func New(o Options) *Apps { return &Apps{o: o} }

// ready installs the apps of a new phone. The caller holds mu for writing.
func (t *Apps) ready() {
	if t.byID == nil {
		t.byID = make(map[string]*App, len(builtinApps))
		for _, b := range builtinApps {
			t.put(t.newApp(b.spec.complete(), nil, b.build))
		}
	}
}

func (t *Apps) put(a *App) {
	t.seq++
	a.seq = t.seq
	t.byID[a.spec.BundleID] = a
}

func (t *Apps) newApp(spec Spec, data *container, build func(*files.FS)) *App {
	id, udid := spec.BundleID, t.o.Identity.UDID
	a := &App{
		id: t.o.Identity, spec: spec, data: data,
		uuid: identity.UUIDText(identity.UUID("bundle", id, spec.Version, udid)),
	}
	if data == nil {
		a.data = &container{uuid: identity.UUIDText(identity.UUID("data", id, udid)),
			fs: files.New(t.o.Clock.Now, t.o.Volume, func(f *files.FS) {
				f.Seed(containerDirs...)
				if build != nil {
					build(f)
				}
			})}
	}
	return a
}

var containerDirs = []string{
	"Documents", "Library/Caches", "Library/Preferences", "Library/SplashBoard", "SystemData",
	"tmp",
}

// BundleID is the app's identifier.
func (a *App) BundleID() string { return a.spec.BundleID }

// Type is User, System or Hidden.
func (a *App) Type() string { return a.spec.Type }

// FileSharing reports UIFileSharingEnabled: VendDocuments is allowed.
func (a *App) FileSharing() bool { return a.spec.FileSharing }

// Developer reports get-task-allow: VendContainer is allowed.
func (a *App) Developer() bool { return a.spec.Developer }

// Team is the identifier of the team that signed the app; "" for an app of the system.
func (a *App) Team() string {
	if a.spec.Type != User {
		return ""
	}
	return a.spec.Team
}

// Container is the app's data container.
func (a *App) Container() *files.FS { return a.data.fs }

// Name is CFBundleName, after which the bundle is named.
func (a *App) Name() string { return a.spec.Name }

// DisplayName is what the home screen calls the app.
func (a *App) DisplayName() string { return a.spec.DisplayName }

// Version is the app's build, CFBundleVersion.
func (a *App) Version() string { return a.spec.Version }

// ShortVersion is the version that users see, CFBundleShortVersionString.
func (a *App) ShortVersion() string { return a.spec.ShortVersion }

// DiskUsage is the size of the bundle and that of the container's files.
func (a *App) DiskUsage() (static, dynamic uint64) {
	return a.spec.StaticDiskUsage, a.data.fs.ContentSize()
}

// List lists the installed apps by bundle identifier.
func (t *Apps) List() []*App {
	var out []*App
	t.look(func() { out = slices.Collect(maps.Values(t.byID)) })
	slices.SortFunc(out,
		func(a, b *App) int { return strings.Compare(a.spec.BundleID, b.spec.BundleID) })
	return out
}

// Find returns an installed app.
func (t *Apps) Find(bundleID string) (a *App, ok bool) {
	t.look(func() { a, ok = t.byID[bundleID] })
	return a, ok
}

// Builtin returns an app of a new phone, even if it was removed from this one.
func (t *Apps) Builtin(bundleID string) (*App, bool) {
	for _, b := range builtinApps {
		if b.spec.BundleID == bundleID {
			return t.newApp(b.spec.complete(), nil, nil), true
		}
	}
	return nil, false
}

// look calls fn with the table filled and locked for reading.
func (t *Apps) look(fn func()) {
	t.mu.RLock()
	if t.byID != nil {
		defer t.mu.RUnlock()
		fn()
		return
	}
	t.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready()
	fn()
}

// Install installs an app. If there is one with the same identifier, the new one
// replaces it: its process ends and its data container stays. Install posts
// notifications.AppInstalled. The error is fs.ErrInvalid if there is no valid BundleID,
// and files.ErrNoSpace if there is no room.
func (t *Apps) Install(spec Spec) (*App, error) {
	if spec.BundleID == "" || strings.ContainsAny(spec.BundleID, "/\x00") {
		return nil, failure.Wrap("add app", spec.BundleID, fs.ErrInvalid)
	}
	spec = spec.complete()
	if err := t.o.Volume.Reserve(int64(spec.StaticDiskUsage)); err != nil {
		return nil, failure.Wrap("add app", spec.BundleID, err)
	}
	t.mu.Lock()
	t.ready()
	old := t.byID[spec.BundleID]
	var data *container
	if old != nil {
		data = old.data
	}
	a := t.newApp(spec, data, nil)
	t.put(a)
	t.mu.Unlock()
	if old != nil {
		_ = t.o.Volume.Reserve(-int64(old.spec.StaticDiskUsage)) // giving back cannot fail
		t.o.Gone(spec.BundleID)
	}
	t.o.Log.Writef("installd", "com.apple.mobile.installd", "install",
		"Installed app %s version %s", spec.BundleID, spec.Version)
	t.o.Notifications.Post(notifications.AppInstalled)
	t.o.Notifications.Post(notifications.DiskUsage)
	return a, nil
}

// Remove removes an app and its data container, ends its process, and posts
// notifications.AppUninstalled. The error is fs.ErrNotExist for an unknown app, and
// fs.ErrPermission for one that is not Removable.
func (t *Apps) Remove(bundleID string) error {
	t.mu.Lock()
	t.ready()
	a := t.byID[bundleID]
	var err error
	switch {
	case a == nil:
		err = fs.ErrNotExist
	case a.spec.Type != User || t.keepApps:
		err = fs.ErrPermission
	default:
		delete(t.byID, bundleID)
	}
	t.mu.Unlock()
	if err != nil {
		return failure.Wrap("remove app", bundleID, err)
	}
	t.o.Gone(bundleID)
	a.data.fs.Clear()
	_ = t.o.Volume.Reserve(-int64(a.spec.StaticDiskUsage)) // giving back cannot fail
	t.o.Log.Writef("installd", "com.apple.mobile.installd", "install", "Uninstalled app %s",
		bundleID)
	t.o.Notifications.Post(notifications.AppUninstalled)
	t.o.Notifications.Post(notifications.DiskUsage)
	return nil
}

// complete returns a copy of s in which the empty fields have their defaults.
func (s Spec) complete() Spec {
	last := s.BundleID[strings.LastIndexByte(s.BundleID, '.')+1:]
	or := func(field *string, key, def string) {
		if v, ok := s.Info.String(key); *field == "" && ok {
			*field = v
		}
		if *field == "" {
			*field = def
		}
	}
	or(&s.Name, "CFBundleName", last)
	// The bundle's directory is named after it.
	s.Name = strings.ReplaceAll(s.Name, "/", ":")
	or(&s.DisplayName, "CFBundleDisplayName", s.Name)
	or(&s.Executable, "CFBundleExecutable", s.Name)
	or(&s.Version, "CFBundleVersion", "1")
	or(&s.ShortVersion, "CFBundleShortVersionString", "1.0")
	if s.Type == "" {
		s.Type = User
	}
	if s.Team == "" {
		s.Team = identity.SerialText(identity.Hash("team", s.BundleID), 10)
	}
	if s.StaticDiskUsage == 0 {
		s.StaticDiskUsage = 12 << 20
	}
	s.StaticDiskUsage = min(s.StaticDiskUsage, 1<<60)
	if v, ok := s.Info.Bool("UIFileSharingEnabled"); ok {
		s.FileSharing = s.FileSharing || v
	}
	s.Info = s.Info.Clone()
	return s
}
