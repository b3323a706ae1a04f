//go:build linux

package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// daemons is held while a daemon runs: without namespaces there is one place
// for it.
var daemons sync.Mutex

// daemon starts the real usbmuxd with a socket and a folder of pair records of
// its own. Its paths are fixed, so it lives in a room where those paths lead
// elsewhere.
func daemon(t *testing.T) (*rig, *usbmux.Client, string) {
	t.Helper()
	r := plug(t, virtual.HostOptions{})
	daemons.Lock()
	t.Cleanup(daemons.Unlock)
	run, lockdown := r.place("/run"), r.place("/var/lib/lockdown")
	places := map[string]string{"/run": run, "/var/lib/lockdown": lockdown}
	// --disable-hotplug: a phone that is plugged into this machine is none of
	// the test's business.
	c := r.room(places, "usbmuxd", "--foreground", "--disable-hotplug", "--no-preflight")
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan string, 1)
	go func() {
		var log strings.Builder
		buf := make([]byte, 4096)
		for started := false; ; {
			n, err := errs.Read(buf)
			log.Write(buf[:n])
			if !started && strings.Contains(log.String(), "Initialization complete") {
				started = true
				close(ready)
			}
			if err != nil {
				done <- log.String()
				return
			}
		}
	}()
	select {
	case <-ready:
	case log := <-done:
		c.Wait()
		t.Fatalf("usbmuxd did not start: %s", log)
	}
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		log := <-done
		if err := c.Wait(); err != nil {
			t.Errorf("usbmuxd: %v\n%s", err, log)
		}
	})
	client, err := usbmux.New(
		usbmux.Options{Address: filepath.Join(run, "usbmuxd"), Program: "interop"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return r, client, lockdown
}

func TestRealDaemon(t *testing.T) {
	t.Parallel()
	r, c, lockdown := daemon(t)
	t.Run("BUID", func(t *testing.T) {
		id, err := c.BUID(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		file := readDict(t, filepath.Join(lockdown, "SystemConfiguration.plist"))
		want, _ := file.String("SystemBUID")
		if id == "" {
			t.Errorf("BUID is empty, the daemon stored %q", want)
		}
		if id != want {
			t.Errorf("BUID = %q, the daemon stored %q", id, want)
		}
	})
	t.Run("empty list", func(t *testing.T) {
		list, err := c.List(r.ctx)
		if err != nil {
			t.Errorf("List: %v", err)
		}
		if list == nil {
			t.Error("List = nil, want an empty list")
		}
		if len(list) != 0 {
			t.Errorf("List = %v, want an empty list", list)
		}
	})
	t.Run("listen", func(t *testing.T) { daemonListen(t, r.ctx, c) })
	t.Run("pair record", func(t *testing.T) { daemonRecords(t, r.ctx, c, lockdown) })
	t.Run("refusals", func(t *testing.T) { daemonRefusals(t, r.ctx, c) })
}

func readDict(t *testing.T, path string) plist.Dict {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := plist.DecodeDict(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func daemonListen(t *testing.T, ctx context.Context, c *usbmux.Client) {
	l, err := c.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	known, err := c.ListListeners(ctx)
	if err != nil {
		t.Errorf("ListListeners: %v", err)
	}
	own := func(i usbmux.ListenerInfo) bool { return i.Program == "interop" }
	if !slices.ContainsFunc(known, own) {
		t.Errorf("ListListeners = %+v, want this program in it", known)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if e, err := l.Next(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Next without any device = %+v, %v", e, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func daemonRecords(t *testing.T, ctx context.Context, c *usbmux.Client, lockdown string) {
	const id = "00008110-000A1B2C3D4E5F60"
	if _, err := c.ReadPairRecord(ctx, id); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("ReadPairRecord before there is one: %v", err)
	}
	record := plist.Dict{
		"HostID": "11AA", "SystemBUID": "22BB", "EscrowBag": []byte{0, 1, 2, 255},
		"WiFiMACAddress": "aa:bb",
	}
	for name, format := range map[string]plist.Format{"XML": plist.XML, "binary": plist.Binary} {
		b, err := plist.Encode(record, format)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SavePairRecord(ctx, id, 0, b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err = c.ReadPairRecord(ctx, id)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d, err := plist.DecodeDict(b)
		if err != nil {
			t.Errorf("%s: decode: %v", name, err)
		}
		if !reflect.DeepEqual(d, record) {
			t.Errorf("%s: read %v, want %v", name, d, record)
		}
		stored := readDict(t, filepath.Join(lockdown, id+".plist"))
		if !reflect.DeepEqual(stored, record) {
			t.Errorf("%s: the daemon stored %v, want %v", name, stored, record)
		}
	}
	if err := c.DeletePairRecord(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(lockdown, id+".plist")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if _, err := c.ReadPairRecord(ctx, id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadPairRecord after deleting: %v", err)
	}
}

func daemonRefusals(t *testing.T, ctx context.Context, c *usbmux.Client) {
	if conn, err := c.Connect(ctx, 77, 62078); !errors.Is(err, usbmux.BadDevice) {
		t.Errorf("Connect to a device that is not there = %v, %v", conn, err)
	}
	if err := c.SavePairRecord(ctx, "00008110-1", 0, []byte("no property list")); !errors.Is(err,
		usbmux.InvalidArgument) {
		t.Errorf("saving nonsense: %v", err)
	}
	// Over the daemon's 64 KiB: it closes without a word.
	big, err := plist.Encode(plist.Dict{"HostID": strings.Repeat("x", 100_000)}, plist.Binary)
	if err != nil {
		t.Fatal(err)
	}
	var e *usbmux.Error
	err = c.SavePairRecord(ctx, "00008110-1", 0, big)
	if !errors.As(err, &e) {
		t.Fatalf("a frame over the limit: %v, want a *usbmux.Error", err)
	}
	if e.Code != usbmux.OK {
		t.Errorf("a frame over the limit: code %v, want none", e.Code)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frame over the limit: %v is a timeout", err)
	}
}

// raw is a frame as it is, right or wrong.
func raw(length, version, message, tag uint32, body string) string {
	var b []byte
	for _, v := range []uint32{length, version, message, tag} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return string(b) + body
}

func plistRequest(t *testing.T, tag uint32, d plist.Dict) string {
	t.Helper()
	b, err := plist.Encode(d, plist.XML)
	if err != nil {
		t.Fatal(err)
	}
	return raw(uint32(16+len(b)), 1, 8, tag, string(b))
}

// talk sends bytes, waits for some answers, then asks for the BUID on the same
// connection, and says how the peer took it: the answers before the BUID's,
// "closed" when it ended the connection.
func talk(
	t *testing.T, ctx context.Context, network, address, send string, wait int,
) (answers []string) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	const last = 0x7777
	// A peer that closes at once may make this fail; the reading tells.
	io.WriteString(conn, send)
	for asked := false; ; {
		if len(answers) == wait && !asked {
			asked = true
			io.WriteString(conn, plistRequest(t, last, plist.Dict{"MessageType": "ReadBUID"}))
		}
		var h [16]byte
		if _, err := io.ReadFull(conn, h[:]); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("no answer to % x", send)
			}
			return append(answers, "closed")
		}
		body := make([]byte, binary.LittleEndian.Uint32(h[:])-16)
		if _, err := io.ReadFull(conn, body); err != nil {
			t.Fatal(err)
		}
		if binary.LittleEndian.Uint32(h[12:]) == last &&
			strings.Contains(string(body), "<key>BUID</key>") {
			return answers
		}
		answers = append(answers, describe(t, h[4:], body))
	}
}

// describe names a result: dialect, tag and number.
func describe(t *testing.T, h, body []byte) string {
	t.Helper()
	version, message, tag := binary.LittleEndian.Uint32(
		h,
	), binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[8:])
	if message == 1 {
		return fmt.Sprintf("binary %d: %d", tag, binary.LittleEndian.Uint32(body))
	}
	d, err := plist.DecodeDict(body)
	if err != nil {
		t.Fatalf("answer % x %q: %v", h, body, err)
	}
	if version != 1 {
		t.Fatalf("answer % x: version %d, want 1", h, version)
	}
	if message != 8 {
		t.Fatalf("answer % x: message %d, want 8", h, message)
	}
	n, ok := d.Int("Number")
	kind, _ := d.String("MessageType")
	if kind != "Result" {
		t.Fatalf("answer %v, want a Result", d)
	}
	if !ok {
		t.Fatalf("answer %v has no Number", d)
	}
	return fmt.Sprintf("plist %d: %d", tag, n)
}

// TestSameRefusals sends wrong requests to the real daemon and to our muxer:
// programs that were made for the one must find the other no different.
func TestSameRefusals(t *testing.T) {
	t.Parallel()
	r, client, _ := daemon(t)
	request := func(d plist.Dict) string { return plistRequest(t, 5, d) }
	for _, c := range []struct {
		name, send string
		wait       int      // answers before the next request
		want       []string // of the daemon
		ours       []string // where ours differs on purpose
	}{
		{
			name: "unknown request", send: request(plist.Dict{"MessageType": "Frobnicate"}),
			want: []string{"plist 5: 1"},
		},
		{name: "unknown message type", send: raw(16, 1, 99, 5, ""), want: []string{"binary 5: 1"}},
		{name: "unknown version", send: raw(16, 9, 8, 5, ""), want: []string{"binary 5: 6"}},
		{
			name: "connect nowhere",
			send: request(plist.Dict{"MessageType": "Connect", "DeviceID": 99, "PortNumber": 1}),
			want: []string{"plist 5: 2"},
		},
		{
			name: "connect without device",
			send: request(plist.Dict{"MessageType": "Connect", "PortNumber": 1}),
			want: []string{"plist 5: 2"},
		},
		{
			name: "connect without port",
			send: request(plist.Dict{"MessageType": "Connect", "DeviceID": 99}),
			want: []string{"plist 5: 1"},
		},
		{name: "binary connect nowhere", send: raw(24, 0, 2, 5,
			"\x63\x00\x00\x00\xF2\x7E\x00\x00"), want: []string{"binary 5: 2"}},
		{
			name: "no record",
			send: request(plist.Dict{"MessageType": "ReadPairRecord", "PairRecordID": "none"}),
			want: []string{"plist 5: 2"},
		},
		{
			name: "read record without id",
			send: request(plist.Dict{"MessageType": "ReadPairRecord"}),
			want: []string{"plist 5: 22"},
		},
		{
			name: "save record without data",
			send: request(plist.Dict{"MessageType": "SavePairRecord", "PairRecordID": "x"}),
			want: []string{"plist 5: 22"},
		},
		{
			name: "delete record without id",
			send: request(plist.Dict{"MessageType": "DeletePairRecord"}),
			want: []string{"plist 5: 22"},
		},
		{
			name: "length below the header", send: raw(8, 1, 8, 5, ""), want: []string{"closed"},
			ours: []string{"plist 5: 1", "closed"},
		},
		{
			name: "length over the limit", send: raw(17<<20, 1, 8, 5, ""), want: []string{"closed"},
			ours: []string{"plist 5: 1", "closed"},
		},
		// The daemon says nothing at all and its client waits in vain.
		{
			name: "no property list", send: raw(20, 1, 8, 5, "junk"), want: nil,
			ours: []string{"plist 5: 1", "closed"},
		},
		{
			name: "no message type", send: request(plist.Dict{"Message": "List"}), want: nil,
			ours: []string{"plist 5: 1", "closed"},
		},
		{name: "request while listening", send: request(plist.Dict{"MessageType": "Listen"}),
			wait: 1, want: []string{"plist 5: 0", "closed"},
			ours: []string{"plist 5: 0", "plist 30583: 1", "closed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := talk(t, r.ctx, "unix", client.Address(), c.send, c.wait); !slices.Equal(got,
				c.want) {
				t.Errorf("usbmuxd answered %q, want %q", got, c.want)
			}
			if c.ours == nil {
				c.ours = c.want
			}
			empty := plug(t, virtual.HostOptions{})
			for _, m := range empty.host.Devices() {
				m.Detach()
			}
			address := strings.TrimPrefix(empty.env[len(empty.env)-1], "USBMUXD_SOCKET_ADDRESS=")
			if got := talk(t, r.ctx, "tcp", address, c.send, c.wait); !slices.Equal(got, c.ours) {
				t.Errorf("ours answered %q, want %q", got, c.ours)
			}
		})
	}
}

// TestNoDaemon asks where no daemon listens.
func TestNoDaemon(t *testing.T) {
	t.Parallel()
	nowhere, err := usbmux.New(usbmux.Options{Address: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var e *usbmux.Error
	_, err = nowhere.List(ctx)
	if !errors.As(err, &e) {
		t.Errorf("List without a daemon: %v, want a *usbmux.Error", err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List without a daemon: %v, want fs.ErrNotExist", err)
	}
}
