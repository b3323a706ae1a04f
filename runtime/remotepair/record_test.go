package remotepair

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func testRecord() *Record {
	return &Record{HostIdentifier: hostID, HostPrivateKey: ed25519.NewKeyFromSeed(repeated(0x43)),
		HostAltIRK:          make([]byte, irkLen),
		RemoteUnlockHostKey: "c2VjcmV0", PeerUDID: "00008120-0000000000000001",
		PeerModel: "iPhone15,2", PeerName: "Phone",
		PeerAltIRK: bytes.Repeat([]byte{7}, irkLen), PeerIdentifier: deviceID,
		PeerPublicKey: ed25519.NewKeyFromSeed(repeated(0x44)).Public().(ed25519.PublicKey),
		Extra:         plist.Dict{"future": int64(1)}}
}

// TestParseForeignRecord reads a record of three keys, as older versions of pymobiledevice3
// write it.
func TestParseForeignRecord(t *testing.T) {
	t.Parallel()
	seed := base64.StdEncoding.EncodeToString(repeated(0x43))
	public := base64.StdEncoding.EncodeToString(
		ed25519.NewKeyFromSeed(repeated(0x43)).Public().(ed25519.PublicKey),
	)
	doc := `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>private_key</key><data>` +
		seed +
		`</data><key>public_key</key><data>` + public +
		`</data><key>remote_unlock_host_key</key><string></string></dict></plist>`
	r, err := ParseRecord([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.HostPrivateKey.Seed(); !bytes.Equal(got, repeated(0x43)) {
		t.Errorf("private key %x, want %x", got, repeated(0x43))
	}
	if r.HostIdentifier != "" {
		t.Errorf("host identifier %q, want none", r.HostIdentifier)
	}
	if r.Extra != nil {
		t.Errorf("extra keys %v, want none", r.Extra)
	}
	id := r.Identity("python.org")
	if err := id.check(); err != nil {
		t.Errorf("identity: %v", err)
	}
	if want := "6FA459EA-EE8A-3CA4-894E-DB77E160355E"; id.Identifier != want {
		t.Errorf("identifier %q, want %q", id.Identifier, want)
	}
	r.HostIdentifier = "own"
	if got := r.Identity("python.org").Identifier; got != "own" {
		t.Errorf("identifier %q", got)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	want := testRecord()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"public_key", "private_key", "remote_unlock_host_key", "host_identifier", "host_alt_irk",
		"peer_alt_irk", "peer_udid", "peer_model", "peer_name",
	} {
		if !bytes.Contains(b, []byte("<key>"+key+"</key>")) {
			t.Errorf("%s is missing in %s", key, b)
		}
	}
	got, err := ParseRecord(b)
	if err != nil {
		t.Errorf("ParseRecord: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ParseRecord = %#v\nwant %#v", got, want)
	}
}

func TestRecordRefusals(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]plist.Dict{
		"empty":             {},
		"short key":         {"private_key": make([]byte, 31)},
		"text as key":       {"private_key": strings.Repeat("x", 32)},
		"name as data":      {"private_key": make([]byte, 32), "peer_name": []byte("x")},
		"short altIRK":      {"private_key": make([]byte, 32), "peer_alt_irk": make([]byte, 15)},
		"short public key":  {"private_key": make([]byte, 32), "peer_public_key": make([]byte, 5)},
		"number as host id": {"private_key": make([]byte, 32), "host_identifier": int64(1)},
	} {
		b, err := plist.Encode(d, plist.Binary)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRecord(b)
		if r != nil {
			t.Errorf("%s: ParseRecord = %v, want none", name, r)
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v (%T), want an *Error", name, err, err)
		} else if e.Op != "parse" {
			t.Errorf("%s: the operation of %v is %q, want parse", name, err, e.Op)
		}
	}
	for _, b := range [][]byte{nil, []byte("junk"), make([]byte, MaxRecord+1)} {
		r, err := ParseRecord(b)
		if err == nil {
			t.Errorf("%d bytes: ParseRecord succeeds", len(b))
		}
		if r != nil {
			t.Errorf("%d bytes: ParseRecord = %v, want none", len(b), r)
		}
	}
	b, err := (&Record{}).Encode()
	if err == nil {
		t.Error("a record without a key is encoded")
	}
	if b != nil {
		t.Errorf("a record without a key is encoded as %s", b)
	}
}

// No format verb and no logger may print the secrets.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	secret := []byte("swordfish and more swordfish 32b")
	private := ed25519.NewKeyFromSeed(secret)
	r := testRecord()
	r.HostPrivateKey, r.RemoteUnlockHostKey = private, "swordfish"
	r.HostAltIRK = secret[:irkLen]
	id := &Identity{Identifier: hostID, PrivateKey: private, AltIRK: secret[:irkLen]}
	p := phonetest.New(t, phone.Options{})
	peers := NewPeers(p)
	peers.id = id
	for _, v := range []any{
		r, *r, id, *id, peers, &Listener{Key: secret}, ListenerRequest{Key: secret},
		Peer{Identifier: hostID, AltIRK: secret}, &Message{encrypted: secret},
	} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", v)
		out := log.String()
		for _, f := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			out += fmt.Sprintf(f, v)
		}
		b, _ := json.Marshal(v)
		out += string(b)
		for _, s := range []string{
			"swordfish", hex.EncodeToString(secret[:9]),
			base64.StdEncoding.EncodeToString(secret[:9]), "115 119 111", "0x73, 0x77",
		} {
			if strings.Contains(out, s) {
				t.Errorf("%T shows %q in %s", v, s, out)
			}
		}
	}
}

// wantIDs checks the records that a folder lists.
func wantIDs(t *testing.T, d *Dir, want ...string) {
	t.Helper()
	ids, err := d.List(t.Context())
	if err != nil {
		t.Errorf("List: %v", err)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("List = %q, want %q", ids, want)
	}
}

func TestDir(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	folder := filepath.Join(t.TempDir(), "a", "remotepairing")
	d := NewDir(folder)
	r := testRecord()
	wantIDs(t, d)
	if d.Path() != folder {
		t.Errorf("Path = %q, want %q", d.Path(), folder)
	}
	got, err := d.Load(ctx, r.PeerUDID)
	if got != nil {
		t.Errorf("Load from nothing = %v, want none", got)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load from nothing: %v, want %v", err, fs.ErrNotExist)
	}
	for range 2 {
		if err := d.Save(ctx, r.PeerUDID, r); err != nil {
			t.Fatal(err)
		}
	}
	id, err := d.Identity(ctx, "host")
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Identity(ctx, "renamed host")
	if err != nil {
		t.Errorf("second Identity: %v", err)
	}
	if !reflect.DeepEqual(again, id) {
		t.Errorf("second Identity = %v, want %v", again, id)
	}
	got, err = d.Load(ctx, r.PeerUDID)
	if err != nil {
		t.Errorf("Load: %v", err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("Load = %v, want %v", got, r)
	}
	os.WriteFile(filepath.Join(folder, "remote_.plist"), nil, 0o600)
	os.WriteFile(filepath.Join(folder, "else.plist"), nil, 0o600)
	wantIDs(t, d, r.PeerUDID)
	if runtime.GOOS != "windows" {
		for name, want := range map[string]fs.FileMode{
			"": 0o700, "remote_" + r.PeerUDID + ".plist": 0o600, selfIdentity: 0o600,
		} {
			i, err := os.Stat(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := i.Mode().Perm(); got != want {
				t.Errorf("%q has mode %v, want %v", name, got, want)
			}
		}
	}
	if err := d.Delete(ctx, r.PeerUDID); err != nil {
		t.Error(err)
	}
	if err := d.Delete(ctx, r.PeerUDID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Delete: %v", err)
	}
}

func TestDirRefusals(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := NewDir(filepath.Join(root, "d"))
	for _, id := range []string{
		"", "..", "../x", "a/b", `a\b`, "a\x00", "x\n", strings.Repeat("x", 300),
	} {
		_, err := d.Load(t.Context(), id)
		for op, err := range map[string]error{
			"Load": err, "Save": d.Save(t.Context(), id, testRecord()),
			"Delete": d.Delete(t.Context(), id),
		} {
			if !errors.Is(err, ErrName) {
				t.Errorf("%s %q: %v", op, id, err)
			}
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := d.Load(gone, "x")
	_, err2 := d.List(gone)
	_, err3 := d.Identity(gone, "x")
	for _, err := range []error{
		err1, err2, err3, d.Save(gone, "x", testRecord()), d.Delete(gone, "x"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("something was written: %v", entries)
	}
	os.WriteFile(filepath.Join(root, "remote_x.plist"), []byte("junk"), 0o600)
	os.WriteFile(filepath.Join(root, "remote_big.plist"), make([]byte, MaxRecord+1), 0o600)
	os.WriteFile(filepath.Join(root, selfIdentity), []byte("<plist><dict/></plist>"), 0o600)
	d = NewDir(root)
	for _, id := range []string{"x", "big"} {
		r, err := d.Load(t.Context(), id)
		if r != nil {
			t.Errorf("Load of junk = %v, want none", r)
		}
		if err == nil {
			t.Error("Load of junk succeeds")
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load of junk: %v matches fs.ErrNotExist", err)
		}
	}
	id, err := d.Identity(t.Context(), "x")
	if err == nil {
		t.Error("Identity of junk succeeds: an identity must not be replaced by accident")
	}
	if id != nil {
		t.Errorf("Identity of junk = %v, want none", id)
	}
	under := NewDir(filepath.Join(root, selfIdentity, "d")) // a file cannot have a folder in it
	if _, err := under.Identity(t.Context(), "x"); err == nil {
		t.Error("Identity below a file")
	}
	if err := under.Save(t.Context(), "x", testRecord()); err == nil {
		t.Error("Save below a file")
	}
	if err := d.Save(t.Context(), "x", &Record{}); err == nil {
		t.Error("Save of a record without a key")
	}
}

// Programs that start at the same time must get the same identity.
func TestOneIdentity(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "d")
	ids := make([]*Identity, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			var err error
			ids[i], err = NewDir(folder).Identity(t.Context(), "host")
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if !reflect.DeepEqual(id, ids[0]) {
			t.Fatalf("identities differ")
		}
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("folder holds %v", entries)
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		goos, own, shared string
		env               map[string]string
	}{
		{
			"linux", "/home/a/.config/imdlua/remotepairing", "/home/a/.pymobiledevice3",
			map[string]string{"HOME": "/home/a/"},
		},
		{"linux", "/conf/imdlua/remotepairing", "", map[string]string{"XDG_CONFIG_HOME": "/conf"}},
		{
			"darwin", "/Users/a/Library/Application Support/imdlua/remotepairing",
			"/Users/a/.pymobiledevice3", map[string]string{"HOME": "/Users/a"},
		},
		{
			"windows", `D:\a\imdlua\remotepairing`, `D:\u\.pymobiledevice3`,
			map[string]string{"APPDATA": `D:\a`, "USERPROFILE": `D:\u`},
		},
		{"linux", "", "", nil},
	} {
		env := func(k string) (string, bool) { v, ok := c.env[k]; return v, ok }
		if own := OwnDir(c.goos, env); own != c.own {
			t.Errorf("%s: OwnDir = %q, want %q", c.goos, own, c.own)
		}
		if shared := SharedDir(c.goos, env); shared != c.shared {
			t.Errorf("%s: SharedDir = %q, want %q", c.goos, shared, c.shared)
		}
	}
}
