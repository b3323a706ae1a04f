package phone

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// Kinds of apps, as ApplicationType says it.
const (
	// UserApp is an app that the user installed.
	UserApp = "User"
	// SystemApp is an app that came with iOS.
	SystemApp = "System"
	// HiddenApp is a system app without an icon.
	HiddenApp = "Hidden"
)

// AppSpec describes an app to install. BundleID is required.
type AppSpec struct {
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
	// Type is UserApp (also ""), SystemApp or HiddenApp.
	Type string
	// Developer apps are signed with get-task-allow.
	Developer bool
	// FileSharing is UIFileSharingEnabled, also taken from Info.
	FileSharing bool
	// Team is the signer's team identifier; "" is one invented.
	Team string
	// StaticDiskUsage is the size of the bundle; 0 means 12 MiB.
	StaticDiskUsage uint64
	// Info is the app's Info.plist. Its keys appear among the attributes.
	Info plist.Dict
}

// App is an installed app.
type App struct {
	phone *Phone
	spec  AppSpec
	seq   int64
	uuid  string // of the bundle's container
	data  *appData
}

// appData is the data container. It outlives the App when a new version is
// installed over it.
type appData struct {
	uuid string
	fs   *files.FS
}

// appTable is the installed apps, made at the first look.
type appTable struct {
	mu   sync.RWMutex
	byID map[string]*App
	seq  int64
}

// ready installs what the phone comes with; the caller holds mu for writing.
func (t *appTable) ready(p *Phone) *appTable {
	if t.byID == nil {
		t.byID = make(map[string]*App, len(builtinApps))
		for _, b := range builtinApps {
			t.put(p.newApp(b.spec.complete(), nil, b.build))
		}
	}
	return t
}

func (t *appTable) put(a *App) {
	t.seq++
	a.seq = t.seq
	t.byID[a.spec.BundleID] = a
}

func (p *Phone) newApp(spec AppSpec, data *appData, build func(*files.FS)) *App {
	id := spec.BundleID
	a := &App{
		phone: p, spec: spec, data: data,
		uuid: uuidText(uuidOf("bundle", id, spec.Version, p.id.udid)),
	}
	if data == nil {
		a.data = &appData{uuid: uuidText(uuidOf("data", id, p.id.udid)),
			fs: files.New(p.Now, p.vol, func(f *files.FS) {
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

// Type is UserApp, SystemApp or HiddenApp.
func (a *App) Type() string { return a.spec.Type }

// FileSharing reports UIFileSharingEnabled: VendDocuments is allowed.
func (a *App) FileSharing() bool { return a.spec.FileSharing }

// Developer reports get-task-allow: VendContainer is allowed.
func (a *App) Developer() bool { return a.spec.Developer }

// Container is the app's data container.
func (a *App) Container() *files.FS { return a.data.fs }

// DiskUsage is the size of the bundle and that of the container's files.
func (a *App) DiskUsage() (static, dynamic uint64) {
	return a.spec.StaticDiskUsage, a.data.fs.ContentSize()
}

// Apps lists the installed apps by bundle identifier.
func (p *Phone) Apps() []*App {
	var out []*App
	p.lookApps(func(t *appTable) { out = slices.Collect(maps.Values(t.byID)) })
	slices.SortFunc(out,
		func(a, b *App) int { return strings.Compare(a.spec.BundleID, b.spec.BundleID) })
	return out
}

// App returns an installed app.
func (p *Phone) App(bundleID string) (a *App, ok bool) {
	p.lookApps(func(t *appTable) { a, ok = t.byID[bundleID] })
	return a, ok
}

func (p *Phone) lookApps(fn func(*appTable)) {
	t := &p.apps
	t.mu.RLock()
	if t.byID != nil {
		defer t.mu.RUnlock()
		fn(t)
		return
	}
	t.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(t.ready(p))
}

// AddApp installs an app, or a new version over the one with the same
// identifier, whose container stays and whose process ends. It posts
// NoteAppInstalled. Without a BundleID the cause is ErrInvalid, without room
// ErrNoSpace.
func (p *Phone) AddApp(spec AppSpec) (*App, error) {
	if spec.BundleID == "" || strings.ContainsAny(spec.BundleID, "/\x00") {
		return nil, fail("add app", spec.BundleID, ErrInvalid)
	}
	spec = spec.complete()
	if err := p.vol.Reserve(int64(spec.StaticDiskUsage)); err != nil {
		return nil, fail("add app", spec.BundleID, err)
	}
	p.apps.mu.Lock()
	t := p.apps.ready(p)
	old := t.byID[spec.BundleID]
	var data *appData
	if old != nil {
		data = old.data
	}
	a := p.newApp(spec, data, nil)
	t.put(a)
	p.apps.mu.Unlock()
	if old != nil {
		_ = p.vol.Reserve(-int64(old.spec.StaticDiskUsage)) // giving back cannot fail
		p.endApp(spec.BundleID)
	}
	p.logf("installd", "com.apple.mobile.installd", "install", "Installed app %s version %s",
		spec.BundleID, spec.Version)
	p.Post(NoteAppInstalled)
	p.Post(NoteDiskUsage)
	return a, nil
}

// RemoveApp removes an app and its container and ends its process. An
// unknown one is fs.ErrNotExist, a system app fs.ErrPermission. It posts
// NoteAppUninstalled.
func (p *Phone) RemoveApp(bundleID string) error {
	p.apps.mu.Lock()
	t := p.apps.ready(p)
	a := t.byID[bundleID]
	var err error
	switch {
	case a == nil:
		err = fs.ErrNotExist
	case a.spec.Type != UserApp:
		err = fs.ErrPermission
	default:
		delete(t.byID, bundleID)
	}
	p.apps.mu.Unlock()
	if err != nil {
		return fail("remove app", bundleID, err)
	}
	p.endApp(bundleID)
	a.data.fs.Clear()
	_ = p.vol.Reserve(-int64(a.spec.StaticDiskUsage)) // giving back cannot fail
	p.logf("installd", "com.apple.mobile.installd", "install", "Uninstalled app %s", bundleID)
	p.Post(NoteAppUninstalled)
	p.Post(NoteDiskUsage)
	return nil
}

func (p *Phone) endApp(bundleID string) {
	if proc, ok := p.RunningApp(bundleID); ok {
		_, _ = p.kill(proc.PID) // gone already is as good
	}
}

// complete fills the fields that were left empty.
func (s AppSpec) complete() AppSpec {
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
		s.Type = UserApp
	}
	if s.Team == "" {
		s.Team = encode(hashOf("team", s.BundleID), serialAlphabet, 10)
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
