package remotepair

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/savefile"
)

const (
	recordPrefix = "remote_"
	recordSuffix = ".plist"
	selfIdentity = "selfIdentity.plist"
)

// ErrName is the cause of an Error if a record's name cannot be the name of a file in
// the folder.
var ErrName = errors.New("not usable as the name of a record")

// Dir is a folder of records, remote_<UDID>.plist, in the form of pymobiledevice3. It
// also has the identity of this host, selfIdentity.plist, in the form of Apple and
// go-ios. Files have mode 0600 and the folder has mode 0700. Files are written
// completely or not at all.
type Dir struct{ dir string }

// NewDir returns the records in dir. The folder is created when something is written.
func NewDir(dir string) *Dir { return &Dir{dir: dir} }

// Path returns the folder.
func (d *Dir) Path() string { return d.dir }

func (d *Dir) file(id string) (string, error) {
	bad := id == "" || len(id) > 200 || strings.Contains(id, "..") || strings.ContainsAny(id, "/\\")
	for _, c := range []byte(id) {
		bad = bad || c < 0x20 || c == 0x7F ||
			runtime.GOOS == "windows" && strings.IndexByte(`<>:"|?*`, c) >= 0
	}
	if bad {
		return "", ErrName
	}
	return filepath.Join(d.dir, recordPrefix+id+recordSuffix), nil
}

func (d *Dir) fail(op, id string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = &fs.PathError{Op: "file", Path: p.Path, Err: p.Err}
	}
	return &Error{Op: op, Subject: id, Err: err}
}

// Load returns the record of a device. The error matches fs.ErrNotExist if there is
// none.
func (d *Dir) Load(ctx context.Context, id string) (*Record, error) {
	name, err := d.file(id)
	if err == nil {
		err = context.Cause(ctx)
	}
	var r *Record
	if err == nil {
		var b []byte
		b, err = readFile(name)
		if err == nil {
			r, err = ParseRecord(b)
		}
	}
	if err != nil {
		return nil, d.fail("load", id, err)
	}
	return r, nil
}

// readFile reads a file of limited size.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
	if err == nil && len(b) > MaxRecord {
		err = errTooLarge
	}
	return b, err
}

// Save stores the record of a device and replaces an older one.
func (d *Dir) Save(ctx context.Context, id string, r *Record) error {
	name, err := d.file(id)
	if err == nil {
		err = context.Cause(ctx)
	}
	var b []byte
	if err == nil {
		b, err = r.Encode()
	}
	if err == nil {
		err = savefile.Private(name, b)
	}
	if err != nil {
		return d.fail("save", id, err)
	}
	return nil
}

// Delete removes the record of a device.
func (d *Dir) Delete(ctx context.Context, id string) error {
	name, err := d.file(id)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = os.Remove(name)
	}
	if err != nil {
		return d.fail("delete", id, err)
	}
	return nil
}

// List returns the names of the records, sorted. It is empty if the folder does not
// exist.
func (d *Dir) List(ctx context.Context) ([]string, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, d.fail("list", "", err)
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d.fail("list", "", err)
	}
	var ids []string
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), recordPrefix)
		if id, suffix := strings.CutSuffix(id, recordSuffix); ok && suffix && !e.IsDir() {
			if _, err := d.file(id); err == nil {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Identity returns the identity of this host. The first call creates it. Programs that
// start at the same time all get the same one.
func (d *Dir) Identity(ctx context.Context, hostName string) (*Identity, error) {
	err := context.Cause(ctx)
	if err == nil {
		var id *Identity
		id, err = d.identity(hostName)
		if err == nil {
			return id, nil
		}
	}
	return nil, d.fail("load", "identity", err)
}

func (d *Dir) identity(hostName string) (*Identity, error) {
	name := filepath.Join(d.dir, selfIdentity)
	b, err := readFile(name)
	if err == nil {
		return parseIdentity(b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	id := NewIdentity(hostName, nil)
	b, err = id.encode()
	if err != nil {
		return nil, err
	}
	err = savefile.NewPrivate(name, b)
	if err == nil {
		return id, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	b, err = readFile(name) // another program was first
	if err != nil {
		return nil, err
	}
	return parseIdentity(b)
}

func (i *Identity) encode() ([]byte, error) {
	return plist.Encode(plist.Dict{"identifier": i.Identifier, "irk": i.AltIRK,
		"privateKey": []byte(i.PrivateKey.Seed()), "publicKey": []byte(i.public())}, plist.XML)
}

func parseIdentity(b []byte) (*Identity, error) {
	d, err := plist.DecodeDict(b)
	if err != nil {
		return nil, err
	}
	i := &Identity{}
	i.Identifier, _ = d.String("identifier")
	i.AltIRK, _ = d.Data("irk")
	if seed, _ := d.Data("privateKey"); len(seed) == ed25519.SeedSize ||
		len(seed) == ed25519.PrivateKeySize {
		i.PrivateKey = ed25519.NewKeyFromSeed(seed[:ed25519.SeedSize])
	}
	if err := i.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", selfIdentity, err)
	}
	return i, nil
}

// OwnDir returns the folder of this program's records. It is "" if the environment does
// not name the user's folders.
func OwnDir(goos string, env func(string) (string, bool)) string {
	switch goos {
	case "windows":
		return under(env, "APPDATA", `\imdlua\remotepairing`)
	case "darwin":
		return under(env, "HOME", "/Library/Application Support/imdlua/remotepairing")
	}
	if dir := under(env, "XDG_CONFIG_HOME", "/imdlua/remotepairing"); dir != "" {
		return dir
	}
	return under(env, "HOME", "/.config/imdlua/remotepairing")
}

// SharedDir returns the folder of pymobiledevice3's records, or "".
func SharedDir(goos string, env func(string) (string, bool)) string {
	if goos == "windows" {
		return under(env, "USERPROFILE", `\.pymobiledevice3`)
	}
	return under(env, "HOME", "/.pymobiledevice3")
}

func under(env func(string) (string, bool), variable, rest string) string {
	if base, ok := env(variable); ok && base != "" {
		return strings.TrimRight(base, `/\`) + rest
	}
	return ""
}
