package pair

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/savefile"
)

// systemConfiguration is the name of the file with the SystemBUID. No record may have
// this name.
const systemConfiguration = "SystemConfiguration"

// Dir is a Store with one file for each device, <UDID>.plist, in the layout of usbmuxd.
// A file is written completely or not at all.
type Dir struct {
	dir string
	mu  sync.Mutex // SystemConfiguration.plist is read before it is written
}

// NewDir returns a Store in dir. The folder is created when something is written.
func NewDir(dir string) *Dir { return &Dir{dir: dir} }

// Path returns the folder.
func (d *Dir) Path() string { return d.dir }

// ErrName is the cause of an Error if a record's id cannot be the name of a file in the
// folder.
var ErrName = errors.New("not usable as the name of a record")

func (d *Dir) file(id string) (string, error) {
	bad := id == "" || len(id) > 200 || id[0] == '.' || strings.Contains(id, "..") ||
		strings.ContainsAny(id, "/\\") || !filepath.IsLocal(id) ||
		strings.EqualFold(id, systemConfiguration)
	for _, c := range []byte(id) {
		bad = bad || c < 0x20 || c == 0x7F ||
			runtime.GOOS == "windows" && strings.IndexByte(`<>:"|?*`, c) >= 0
	}
	if bad {
		return "", ErrName
	}
	return filepath.Join(d.dir, id+".plist"), nil
}

// Files gives access to the files of a Dir as bytes. A multiplexer stores the records
// of its clients in this form.
type Files struct{ dir *Dir }

// Files returns the files of the folder. They are stored without being parsed.
func (d *Dir) Files() Files { return Files{d} }

// Read returns the bytes of a record.
func (f Files) Read(id string) ([]byte, error) {
	name, err := f.dir.file(id)
	if err == nil {
		var b []byte
		b, err = os.ReadFile(name)
		if err == nil {
			return b, nil
		}
	}
	return nil, &Error{Op: "load", Subject: id, Err: plain(err)}
}

// Write stores the bytes of a record.
func (f Files) Write(id string, b []byte) error {
	name, err := f.dir.file(id)
	if err == nil {
		err = savefile.Private(name, b)
	}
	if err != nil {
		return &Error{Op: "save", Subject: id, Err: plain(err)}
	}
	return nil
}

// Delete removes a record.
func (f Files) Delete(id string) error {
	name, err := f.dir.file(id)
	if err == nil {
		err = os.Remove(name)
	}
	if err != nil {
		return &Error{Op: "delete", Subject: id, Err: plain(err)}
	}
	return nil
}

// plain removes the operation that the os package names, because the enclosing Error
// names it in terms of records. The path stays.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &fs.PathError{Op: "file", Path: p.Path, Err: p.Err}
	}
	return err
}

// Load returns the record of a device.
func (d *Dir) Load(ctx context.Context, udid string) (*Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, &Error{Op: "load", Subject: udid, Err: err}
	}
	b, err := d.Files().Read(udid)
	if err != nil {
		return nil, err
	}
	r, err := Parse(b)
	if err != nil {
		return nil, &Error{Op: "load", Subject: udid, Err: err}
	}
	return r, nil
}

// Save stores the record of a device and replaces an older one.
func (d *Dir) Save(ctx context.Context, udid string, r *Record) error {
	if err := context.Cause(ctx); err != nil {
		return &Error{Op: "save", Subject: udid, Err: err}
	}
	b, err := r.Encode()
	if err != nil {
		return err
	}
	return d.Files().Write(udid, b)
}

// Delete removes the record of a device.
func (d *Dir) Delete(ctx context.Context, udid string) error {
	if err := context.Cause(ctx); err != nil {
		return &Error{Op: "delete", Subject: udid, Err: err}
	}
	return d.Files().Delete(udid)
}

// List returns the UDIDs of the records, sorted. It is empty if the folder does not exist.
func (d *Dir) List(ctx context.Context) ([]string, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, &Error{Op: "list", Err: err}
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Op: "list", Err: plain(err)}
	}
	var udids []string
	for _, e := range entries {
		udid, ok := strings.CutSuffix(e.Name(), ".plist")
		if _, err := d.file(udid); ok && err == nil && !e.IsDir() {
			udids = append(udids, udid)
		}
	}
	slices.Sort(udids)
	return udids, nil
}

// BUID returns the SystemBUID of the folder. The first call creates it.
func (d *Dir) BUID(ctx context.Context) (string, error) {
	err := context.Cause(ctx)
	if err == nil {
		var buid string
		buid, err = d.buid()
		if err == nil {
			return buid, nil
		}
	}
	return "", &Error{Op: "read buid", Err: plain(err)}
}

func (d *Dir) buid() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := filepath.Join(d.dir, systemConfiguration+".plist")
	config, err := readConfiguration(name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return "", err
	}
	if s, ok := config.String("SystemBUID"); ok && s != "" {
		return s, nil
	}
	buid := NewUUID()
	if config == nil {
		config = plist.Dict{}
	}
	config["SystemBUID"] = buid
	b, err := plist.Encode(config, plist.XML)
	if err != nil {
		return "", err
	}
	if !missing {
		return buid, savefile.Private(name, b)
	}
	// Two programs may start on an empty folder at once. The second one then uses the
	// SystemBUID of the first.
	err = savefile.NewPrivate(name, b)
	if errors.Is(err, fs.ErrExist) {
		config, err = readConfiguration(name)
		buid, _ = config.String("SystemBUID")
	}
	if err != nil {
		return "", err
	}
	return buid, nil
}

func readConfiguration(name string) (plist.Dict, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return plist.DecodeDict(b)
}

// SystemDir returns the folder in which usbmuxd keeps the pair records on a system,
// which is named as GOOS. env looks up an environment variable.
func SystemDir(goos string, env func(string) (string, bool)) string {
	switch goos {
	case "windows":
		base, ok := env("ALLUSERSPROFILE")
		if !ok || base == "" {
			base = `C:\ProgramData`
		}
		return base + `\Apple\Lockdown`
	case "darwin":
		return "/var/db/lockdown"
	}
	return "/var/lib/lockdown"
}

// OwnDir returns the folder for this program's own pair records, which are used on
// hosts without a multiplexer that stores records. It is "" if the environment does not
// name the user's folders.
func OwnDir(goos string, env func(string) (string, bool)) string {
	under := func(variable, rest string) string {
		if base, ok := env(variable); ok && base != "" {
			return strings.TrimRight(base, `/\`) + rest
		}
		return ""
	}
	switch goos {
	case "windows":
		return under("APPDATA", `\imdlua\lockdown`)
	case "darwin":
		return under("HOME", "/Library/Application Support/imdlua/lockdown")
	}
	if dir := under("XDG_CONFIG_HOME", "/imdlua/lockdown"); dir != "" {
		return dir
	}
	return under("HOME", "/.config/imdlua/lockdown")
}
