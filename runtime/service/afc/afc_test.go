package afc

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var when = time.Unix(1700000000, 123456789)

func newFS() *files.FS { return files.NewFS(func() time.Time { return when }, 1<<30) }

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		f := newFS()
		must(tb, f.WriteFile("/a", []byte("hello")))
		return &Device{FS: f, Model: "m"}
	},
	Calls: servicetest.Calls[*Client]{
		"list":   servicetest.With((*Client).ReadDir, "/"),
		"stat":   servicetest.With((*Client).Stat, "/a"),
		"hash":   servicetest.With((*Client).Hash, "/a"),
		"read":   servicetest.With((*Client).ReadFile, "/a"),
		"walk":   servicetest.With((*Client).List, "/"),
		"device": servicetest.Value((*Client).DeviceInfo),
		"make":   func(c *Client, ctx context.Context) error { return c.Mkdir(ctx, "/d") },
		"write": func(c *Client, ctx context.Context) error {
			return c.WriteFile(ctx, "/a", []byte("hello"))
		},
		"several": several,
	},
	Typed: fuzztest.Typed[*Error],
}

// several makes several calls in turn on the same connection and returns the last
// error.
func several(c *Client, ctx context.Context) error {
	_, err := c.ReadDir(ctx, "/")
	_, failed := c.Stat(ctx, "/a")
	err = cmp.Or(failed, err)
	if f, failed := c.Open(ctx, "/a", ModeRead); failed != nil {
		err = failed
	} else {
		_, _ = f.Read(ctx, make([]byte, 8))
		err = cmp.Or(f.Close(ctx), err)
	}
	_, failed = c.Pull(ctx, "/a", io.Discard, Transfer{})
	return cmp.Or(failed, err)
}

func TestService(t *testing.T) { suite.Test(t) }

// pair returns a client that is connected to a device with the tree f.
func pair(tb testing.TB, f *files.FS) *Client {
	tb.Helper()
	c := New(servicetest.Conn(tb, &Device{FS: f, Model: "iPhone12,8"}))
	tb.Cleanup(func() { c.Close() })
	return c
}

func ctx(tb testing.TB) context.Context {
	tb.Helper()
	c, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return c
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// packet returns a request in the layout that other clients use.
func packet(num uint64, op Opcode, head, payload string) string {
	h := header{
		entire: uint64(headerLen + len(head) + len(payload)), this: uint64(headerLen + len(head)),
		packet: num, op: op,
	}
	return string(appendHeader(nil, h)) + head + payload
}

func u64(v ...uint64) string {
	var b []byte
	for _, v := range v {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return string(b)
}

// exchange writes a request and reads one answer. It returns the header as it was sent.
func exchange(t *testing.T, c net.Conn, req string) (header, string) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	if _, err := io.WriteString(c, req); err != nil {
		t.Fatal(err)
	}
	return answerOf(t, c)
}

func answerOf(t *testing.T, c net.Conn) (header, string) {
	t.Helper()
	var b [headerLen]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatal(err)
	}
	h, err := decodeHeader(&b)
	must(t, err)
	body, err := link.ReadN(c, int(h.entire-headerLen), nil)
	must(t, err)
	return h, string(body)
}

// TestTranscript compares the answers of the device with the bytes of the protocol
// sheet: opening "/a" for reading with packet number 1.
func TestTranscript(t *testing.T) {
	t.Parallel()
	f := newFS()
	must(t, f.WriteFile("/a", []byte("hello")))
	c := servicetest.Conn(t, &Device{FS: f, Model: "iPhone12,8"})
	req := unhex(t,
		`434641364C504141 3300000000000000 3300000000000000 0100000000000000 0D00000000000000
		0100000000000000 2F6100`)
	if got := packet(1, opOpen, u64(1)+"/a\x00", ""); got != req {
		t.Errorf("request % x, want % x", got, req)
	}
	want := unhex(t,
		`434641364C504141 3000000000000000 3000000000000000 0100000000000000 0E00000000000000
		0100000000000000`)
	if _, err := io.WriteString(c, req); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Errorf("answer: %v", err)
	} else if string(got) != want {
		t.Errorf("answer % x, want % x", got, want)
	}
}

// TestClientBytes compares the requests of the client with the same transcript.
func TestClientBytes(t *testing.T) {
	t.Parallel()
	a, b := linktest.Pipe()
	defer b.Close()
	c := New(a)
	defer c.Close()
	want := unhex(t,
		`434641364C504141 3300000000000000 3300000000000000 0100000000000000 0D00000000000000
		0100000000000000 2F6100`)
	done := make(chan error, 1)
	go func() {
		got := make([]byte, len(want))
		_, err := io.ReadFull(b, got)
		if err == nil && string(got) != want {
			err = errors.New("request " + hex.EncodeToString(got))
		}
		io.WriteString(b, packet(1, opOpenResult, u64(7), ""))
		done <- err
	}()
	f, err := c.Open(ctx(t), "/a", ModeRead)
	must(t, err)
	must(t, <-done)
	if f.ref != 7 {
		t.Errorf("handle %d, want 7", f.ref)
	}
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	must(t, err)
	return string(b)
}

func TestDeviceInfoCodec(t *testing.T) {
	t.Parallel()
	want := DeviceInfo{"iPhone12,8", 63933894656, 40000000000, 4096}
	b := appendDeviceInfo(nil, want)
	if s := "Model\x00iPhone12,8\x00FSTotalBytes\x0063933894656\x00FSFreeBytes\x0040000000000\x00FSBlockSize\x004096\x00"; string(
		b,
	) != s {
		t.Errorf("appendDeviceInfo = %q, want %q", b, s)
	}
	if got, err := decodeDeviceInfo(b); err != nil {
		t.Errorf("decodeDeviceInfo: %v", err)
	} else if got != want {
		t.Errorf("decodeDeviceInfo = %+v, want %+v", got, want)
	}
	for _, bad := range []string{"Model\x00a\x00FSTotalBytes\x00", "FSTotalBytes\x00many\x00"} {
		if _, err := decodeDeviceInfo([]byte(bad)); !errors.Is(err, errKeys) {
			t.Errorf("decodeDeviceInfo(%q) = %v, want errKeys", bad, err)
		}
	}
}

// TestInfoCodec uses the values that the protocol sheet shows for a device.
func TestInfoCodec(t *testing.T) {
	t.Parallel()
	sample := "st_size\x0096\x00st_blocks\x000\x00st_nlink\x003\x00st_ifmt\x00S_IFDIR\x00st_mtime\x001591588092361862409\x00st_birthtime\x001591588092361695702\x00"
	want := Info{
		Size: 96, Nlink: 3, Kind: Directory, ModTime: time.Unix(0, 1591588092361862409),
		BirthTime: time.Unix(0, 1591588092361695702),
	}
	if got, err := decodeInfo([]byte(sample)); err != nil {
		t.Errorf("decodeInfo: %v", err)
	} else if got != want {
		t.Errorf("decodeInfo = %+v, want %+v", got, want)
	}
	if got := appendInfo(nil, want); string(got) != sample {
		t.Errorf("appendInfo = %q, want %q", got, sample)
	}
	link := "st_size\x003\x00st_ifmt\x00S_IFLNK\x00LinkTarget\x00a/b\x00new_key\x00x"
	if got, err := decodeInfo([]byte(link)); err != nil {
		t.Errorf("decodeInfo of a link: %v", err)
	} else if got.LinkTarget != "a/b" {
		t.Errorf("decodeInfo of a link: LinkTarget = %q, want %q", got.LinkTarget, "a/b")
	} else if got.Kind != Symlink {
		t.Errorf("decodeInfo of a link: Kind = %v, want %v", got.Kind, Symlink)
	}
	if got, err := decodeInfo([]byte("st_size\x001\x00st_ifmt")); !errors.Is(err, errKeys) {
		t.Errorf("decodeInfo of a key without a value: %v, want %v", err, errKeys)
	} else if got != (Info{}) {
		t.Errorf("decodeInfo of a key without a value = %+v, want nothing", got)
	}
}

// TestOddInfo checks that an invalid value is reported, and that the other values are
// kept.
func TestOddInfo(t *testing.T) {
	t.Parallel()
	const file = "st_ifmt\x00S_IFREG\x00"
	tests := []struct {
		name, reply string
		size        int64
		kind        Kind
		odd         bool
	}{
		{"nothing", "", 0, Unknown, true},
		{"no kind", "st_size\x001\x00", 1, Unknown, true},
		{"unknown kind", "st_size\x001\x00st_ifmt\x00S_IFWHT\x00", 1, Unknown, true},
		{"no size", file, 0, Regular, true},
		{"size is not a number", "st_size\x00x\x00" + file, 0, Regular, true},
		{"negative size", "st_size\x00-1\x00" + file, 0, Regular, true},
		{"size beyond 2^63", "st_size\x0018446744073709551615\x00" + file, 0, Regular, true},
		{
			"size beyond 2^53", "st_size\x009007199254740993\x00" + file, 9007199254740993, Regular,
			false,
		},
		{"time is not a number", "st_size\x001\x00" + file + "st_mtime\x00soon\x00", 1, Regular,
			true},
		{"negative links", "st_size\x001\x00" + file + "st_nlink\x00-4\x00", 1, Regular, true},
		{
			"key of a later system", "st_size\x001\x00" + file + "st_new\x00-4\x00", 1, Regular,
			false,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeInfo([]byte(tt.reply))
			if err != nil {
				t.Fatal(err)
			}
			if got.Size != tt.size {
				t.Errorf("Size = %v, want %v", got.Size, tt.size)
			}
			if got.Kind != tt.kind {
				t.Errorf("Kind = %v, want %v", got.Kind, tt.kind)
			}
			if got.Nlink < 0 {
				t.Errorf("%d links", got.Nlink)
			}
			if odd := errors.Is(got.Odd, errKeys); odd != tt.odd {
				t.Errorf("odd: %v, want %v", got.Odd, tt.odd)
			}
		})
	}
}

func TestStatusErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err    *Error
		target error
		want   bool
	}{
		{&Error{Op: "open", Status: NotFound}, fs.ErrNotExist, true},
		{&Error{Op: "open", Status: NotFound}, NotFound, true},
		{&Error{Op: "open", Status: NotFound}, fs.ErrExist, false},
		{&Error{Op: "link", Status: Exists}, fs.ErrExist, true},
		{&Error{Op: "open", Status: PermissionDenied}, fs.ErrPermission, true},
		{&Error{Op: "open", Status: InvalidArgument}, fs.ErrInvalid, true},
		{&Error{Op: "hash", Status: NotSupported}, errors.ErrUnsupported, true},
		{&Error{Op: "stat", Status: ReadError}, fs.ErrNotExist, true},
		{&Error{Op: "read", Status: ReadError}, fs.ErrNotExist, false},
		{&Error{Op: "remove", Status: UnknownError}, NotEmpty, true},
		{&Error{Op: "rename", Status: UnknownError}, NotEmpty, false},
		{&Error{Op: "read", Err: &EndedError{Cause: io.ErrUnexpectedEOF}}, net.ErrClosed, true},
	}
	for _, tt := range tests {
		if got := errors.Is(tt.err, tt.target); got != tt.want {
			t.Errorf("errors.Is(%v, %v) = %v, want %v", tt.err, tt.target, got, tt.want)
		}
	}
	for text, err := range map[string]error{
		`afc: open "/x": object not found (8)`: &Error{
			Op: "open", Path: "/x", Status: NotFound,
		},
		`afc: device info: status (77)`: &Error{Op: "device info", Status: 77},
		`afc: read "a": connection closed`: &Error{
			Op: "read", Path: "a", Err: &EndedError{Cause: net.ErrClosed},
		},
		`afc: read "a": connection ended: unexpected EOF`: &Error{
			Op: "read", Path: "a", Err: &EndedError{Cause: io.ErrUnexpectedEOF},
		},
		`afc: open: invalid argument: mode "q"`: func() error {
			_, err := ParseMode("q")
			return err
		}(),
		`afc: remove "/": unsafe file name ".."`: func() error {
			_, err := childPath("remove", "/",
				"..")
			return err
		}(),
	} {
		if err.Error() != text {
			t.Errorf("error %q, want %q", err, text)
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	for m := ModeRead; m <= ModeAppendRead; m++ {
		if got, err := ParseMode(m.String()); err != nil {
			t.Errorf("ParseMode(%q): %v", m, err)
		} else if got != m {
			t.Errorf("ParseMode(%q) = %v, want %v", m, got, m)
		}
	}
	for _, bad := range []string{"", "rw", "x"} {
		if _, err := ParseMode(bad); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ParseMode(%q): %v", bad, err)
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	good := header{entire: 60, this: 48, packet: 1<<64 - 1, op: opWrite}
	var b [headerLen]byte
	copy(b[:], appendHeader(nil, good))
	if got, err := decodeHeader(&b); err != nil {
		t.Errorf("decodeHeader: %v", err)
	} else if got != good {
		t.Errorf("decodeHeader = %+v, want %+v", got, good)
	}
	for name, h := range map[string]header{
		"this beyond entire": {entire: 40, this: 48},
		"this too short":     {entire: 40, this: 39},
		"no lengths":         {},
		"beyond all data":    {entire: maxPacket + 1, this: 40},
	} {
		copy(b[:], appendHeader(nil, h))
		if _, err := decodeHeader(&b); !errors.Is(err, errLengths) {
			t.Errorf("%s: %v, want errLengths", name, err)
		}
	}
	b[0] = 'X'
	if _, err := decodeHeader(&b); !errors.Is(err, errMagic) {
		t.Errorf("bad magic: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"": nil, "a": {"a"}, "a\x00": {"a"}, "a\x00b": {"a", "b"}, "\x00": {""},
		"a\x00\x00b\x00": {"a", "", "b"},
	} {
		if got := splitNames([]byte(in)); !reflect.DeepEqual(got, want) {
			t.Errorf("splitNames(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzInfo(f *testing.F) {
	f.Add(appendInfo(nil, Info{Kind: Symlink, LinkTarget: "x", ModTime: when, BirthTime: when}))
	f.Add([]byte("st_size\x00"))
	f.Add(appendDeviceInfo(nil, DeviceInfo{Model: "m"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeDeviceInfo(b)
		i, err := decodeInfo(b)
		if err != nil {
			return
		}
		if i.Kind == Symlink && i.LinkTarget == "" {
			return
		}
		if i.Odd != nil || i.ModTime.IsZero() || i.BirthTime.IsZero() {
			return
		}
		again, err := decodeInfo(appendInfo(nil, i))
		if i.Kind != Symlink {
			again.LinkTarget = i.LinkTarget
		}
		if err != nil {
			t.Errorf("decoding %+v again: %v", i, err)
		} else if again != i {
			t.Errorf("decoding %+v again: %+v", i, again)
		}
	})
}

// FuzzDevice sends arbitrary data to the device, which must answer in whole packets and
// end when the client has disconnected.
func FuzzDevice(f *testing.F) {
	f.Add([]byte(packet(1, opOpen, u64(2)+"/a", "") + packet(2, opWrite, u64(1), "data") +
		packet(3, opSeek, u64(1, 0, 0), "") + packet(4, opRead, u64(1, 100), "")))
	f.Add([]byte(
		packet(1, opReadDir, "/", "") + packet(2, opRename, "a\x00b", "") + packet(3, 99, "", ""),
	))
	f.Add([]byte(packet(1, opMakeLink, u64(2)+"..\x00l\x00", "") + packet(2, opHash, "l", "") +
		packet(3, opReadAt, u64(1, 1<<63, 9), "")))
	f.Add([]byte(magic + "garbage"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := files.NewFS(func() time.Time { return when }, 1<<20)
		must(t, fsys.WriteFile("/a", []byte("hello")))
		client, server := link.Pipe()
		defer client.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			defer server.Close()
			_ = (&Device{FS: fsys, Model: "m"}).Serve(context.Background(), server)
		})
		wg.Go(func() {
			_, _ = client.Write(b)
			_ = link.CloseWrite(client)
		})
		for {
			var h [headerLen]byte
			if _, err := io.ReadFull(client, h[:]); err != nil {
				if err != io.EOF {
					t.Errorf("half an answer: %v", err)
				}
				break
			}
			a, err := decodeHeader(&h)
			must(t, err)
			if _, err := io.CopyN(io.Discard, client, int64(a.entire-headerLen)); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
	})
}

// FuzzClient sends arbitrary answers to a client, whose calls must end.
func FuzzClient(f *testing.F) {
	suite.FuzzClient(f,
		packet(1, opData, "", ".\x00..\x00a\x00")+
			packet(2, opData, "", "st_size\x001\x00st_ifmt\x00S_IFREG\x00")+
			packet(3, opOpenResult, u64(1), "")+packet(4, opData, "", "hello")+
			packet(5, opStatus, u64(8), ""),
		packet(1, opStatus, u64(8), "")+packet(9, opStatus, u64(0), ""),
		packet(1, opData, "12", "34"),
		strings.Repeat("\xff", 100),
	)
}
