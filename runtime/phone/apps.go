package phone

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// AppSpec describes an app to install. BundleID is required.
type AppSpec struct {
	BundleID string
	// Name is CFBundleName and names the bundle directory; "" means the last
	// part of BundleID.
	Name string
	// DisplayName is CFBundleDisplayName; "" means Name.
	DisplayName string
	// Executable is CFBundleExecutable; "" means Name.
	Executable string
	// Version is CFBundleVersion, ShortVersion CFBundleShortVersionString;
	// "" means "1" and "1.0".
	Version, ShortVersion string
	// Type is "User" (also ""), "System" or "Hidden".
	Type string
	// Developer apps are signed with get-task-allow.
	Developer bool
	// FileSharing is UIFileSharingEnabled.
	FileSharing bool
	// Team is the signer's team identifier; "" is invented.
	Team string
	// StaticDiskUsage is the size of the bundle; 0 means 12 MB.
	StaticDiskUsage uint64
	// Info is the app's Info.plist. Its keys appear among the attributes;
	// where fields above are empty they are taken from it.
	Info plist.Dict
}

// App is an installed app.
type App struct {
	phone *Phone
	spec  AppSpec
	seq   int64

	once sync.Once
	fs   *FS
}

type appTable struct {
	mu   sync.RWMutex
	byID map[string]*App
	seq  int64
}

// BundleID is the app's identifier.
func (a *App) BundleID() string { return a.spec.BundleID }

// Type is "User", "System" or "Hidden".
func (a *App) Type() string { return a.spec.Type }

// FileSharing reports UIFileSharingEnabled: VendDocuments is allowed.
func (a *App) FileSharing() bool { return a.spec.FileSharing }

// Developer reports get-task-allow: VendContainer is allowed.
func (a *App) Developer() bool { return a.spec.Developer }

// Container is the app's data container.
func (a *App) Container() *FS {
	a.once.Do(func() { a.fs = newFS(a.phone.Now, &a.phone.vol, buildContainer) })
	return a.fs
}

func buildContainer(f *FS) {
	for _, d := range []string{"Documents", "Library/Caches", "Library/Preferences", "tmp", "SystemData"} {
		f.mu.Lock()
		_ = f.mkdir(d, f.clock().UnixNano())
		f.mu.Unlock()
	}
}

// DiskUsage is the size of the bundle and of the container.
func (a *App) DiskUsage() (static, dynamic uint64) { return a.spec.StaticDiskUsage, 0 }

// Attributes are what installation_proxy tells about the app, except the
// disk usage. The caller owns the dictionary.
func (a *App) Attributes() plist.Dict {
	return plist.Dict{"CFBundleIdentifier": a.spec.BundleID, "CFBundleExecutable": a.spec.Executable,
		"CFBundleName": a.spec.Name, "CFBundleDisplayName": a.spec.DisplayName, "CFBundleVersion": a.spec.Version,
		"CFBundleShortVersionString": a.spec.ShortVersion, "ApplicationType": a.spec.Type, "UIFileSharingEnabled": a.spec.FileSharing}
}

func (a *App) execPath() string { return "/Applications/" + a.spec.Name + ".app/" + a.spec.Executable }

// Apps lists the installed apps by bundle identifier.
func (p *Phone) Apps() []*App {
	p.apps.mu.RLock()
	defer p.apps.mu.RUnlock()
	return slices.SortedFunc(maps.Values(p.apps.byID), func(a, b *App) int {
		return strings.Compare(a.spec.BundleID, b.spec.BundleID)
	})
}

// App returns an installed app.
func (p *Phone) App(bundleID string) (*App, bool) {
	p.apps.mu.RLock()
	defer p.apps.mu.RUnlock()
	a, ok := p.apps.byID[bundleID]
	return a, ok
}

// AddApp installs an app, or replaces the one with the same identifier and
// keeps its container. It posts NoteAppInstalled.
func (p *Phone) AddApp(spec AppSpec) (*App, error) {
	if spec.BundleID == "" {
		return nil, fail("add app", "", ErrInvalid)
	}
	a := &App{phone: p, spec: spec}
	p.apps.mu.Lock()
	if p.apps.byID == nil {
		p.apps.byID = map[string]*App{}
	}
	p.apps.byID[spec.BundleID] = a
	p.apps.mu.Unlock()
	p.Post(NoteAppInstalled)
	return a, nil
}

// RemoveApp removes an app and its container and ends it. An unknown one is
// fs.ErrNotExist. It posts NoteAppUninstalled.
func (p *Phone) RemoveApp(bundleID string) error {
	p.apps.mu.Lock()
	_, ok := p.apps.byID[bundleID]
	delete(p.apps.byID, bundleID)
	p.apps.mu.Unlock()
	if !ok {
		return fail("remove app", bundleID, fs.ErrNotExist)
	}
	p.Post(NoteAppUninstalled)
	return nil
}
