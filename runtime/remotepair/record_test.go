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

// The layout that older versions of pymobiledevice3 write, with three keys.
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
	if err != nil || !bytes.Equal(r.HostPrivateKey.Seed(), repeated(0x43)) ||
		r.HostIdentifier != "" || r.Extra != nil {
		t.Fatalf("%v, %v", r, err)
	}
	id := r.Identity("python.org")
	if err := id.check(); err != nil || id.Identifier != "6FA459EA-EE8A-3CA4-894E-DB77E160355E" {
		t.Errorf("identity %v, %v", id, err)
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
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%#v, %v", got, err)
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
		var e *Error
		if r, err := ParseRecord(b); r != nil || !errors.As(err, &e) || e.Op != "parse" {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	for _, b := range [][]byte{nil, []byte("junk"), make([]byte, MaxRecord+1)} {
		if r, err := ParseRecord(b); r != nil || err == nil {
			t.Errorf("%d bytes: %v", len(b), r)
		}
	}
	if b, err := (&Record{}).Encode(); b != nil || err == nil {
		t.Errorf("a record without a key was encoded: %s", b)
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

func TestDir(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	folder := filepath.Join(t.TempDir(), "a", "remotepairing")
	d := NewDir(folder)
	r := testRecord()
	if ids, err := d.List(ctx); err != nil || len(ids) != 0 || d.Path() != folder {
		t.Errorf("empty folder: %v, %v", ids, err)
	}
	if got, err := d.Load(ctx, r.PeerUDID); got != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load from nothing: %v, %v", got, err)
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
	if again, err := d.Identity(ctx, "renamed host"); err != nil || !reflect.DeepEqual(again, id) {
		t.Errorf("second Identity: %v, %v", again, err)
	}
	if got, err := d.Load(ctx, r.PeerUDID); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("Load: %v, %v", got, err)
	}
	os.WriteFile(filepath.Join(folder, "remote_.plist"), nil, 0o600)
	os.WriteFile(filepath.Join(folder, "else.plist"), nil, 0o600)
	if ids, err := d.List(ctx); err != nil || !slices.Equal(ids, []string{r.PeerUDID}) {
		t.Errorf("List: %v, %v", ids, err)
	}
	if runtime.GOOS != "windows" {
		for name, want := range map[string]fs.FileMode{
			"": 0o700, "remote_" + r.PeerUDID + ".plist": 0o600, selfIdentity: 0o600,
		} {
			if i, err := os.Stat(filepath.Join(folder, name)); err != nil ||
				i.Mode().Perm() != want {
				t.Errorf("%q has mode %v, %v", name, i.Mode(), err)
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
		if r, err := d.Load(t.Context(), id); r != nil || err == nil ||
			errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Load of junk: %v, %v", r, err)
		}
	}
	if id, err := d.Identity(t.Context(), "x"); id != nil || err == nil {
		t.Errorf("Identity of junk = %v: an identity must not be replaced by accident", id)
	}
	under := NewDir(filepath.Join(root, selfIdentity, "d")) // below a file nothing can be made
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

// Programs that start together agree on one identity.
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
		if own, shared := OwnDir(c.goos, env), SharedDir(c.goos, env); own != c.own ||
			shared != c.shared {
			t.Errorf("%s: %q and %q, want %q and %q", c.goos, own, shared, c.own, c.shared)
		}
	}
}
