package ostracerelay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		return &Device{Env: service.Env{Phone: phonetest.New(tb, phone.Options{})}}
	},
	Calls: servicetest.Calls[*Client]{
		"pid list":       servicetest.Value((*Client).PidList),
		"start activity": servicetest.With((*Client).StartActivity, Activity{}),
		"create archive": func(c *Client, ctx context.Context) error {
			_, err := c.CreateArchive(ctx, io.Discard, ArchiveOptions{})
			return err
		},
	},
	Typed: fuzztest.Typed[*service.Error],
}

func TestService(t *testing.T) { suite.Test(t) }

// rig is a phone, its log relay, and connections to the relay.
type rig struct {
	t     *testing.T
	phone *phone.Phone
	dev   *Device
}

func newRig(t *testing.T) *rig {
	p := phonetest.New(t, phone.Options{})
	return &rig{t, p, &Device{Env: service.Env{Phone: p}}}
}

// dial opens a connection. The channel ended receives the result of Serve.
func (r *rig) dial() (c net.Conn, ended <-chan error) {
	return servicetest.Dial(r.t.Context(), r.t, r.dev)
}

func (r *rig) stream(a Activity) *Stream {
	r.t.Helper()
	c, _ := r.dial()
	s, err := New(c).StartActivity(r.t.Context(), a)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestStartActivityReply compares the reply with the bytes that the protocol sheet
// requires.
func TestStartActivityReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newRig(t).dial()
		// libimobiledevice sends a binary property list with 0xFFFFFFFF for all
		// processes.
		body, err := plist.Encode(plist.Dict{
			"Request": "StartActivity", "Pid": uint64(0xFFFFFFFF), "MessageFilter": 65535,
			"StreamFlags": 60,
		}, plist.Binary)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(link.AppendFrame(nil, body)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5+73)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		if want := unhex("01 00000049 62706C6973743030"); !bytes.HasPrefix(got, want) {
			t.Errorf("reply begins % X, want % X", got[:13], want)
		}
		d, err := plist.DecodeDict(got[5:])
		if err != nil {
			t.Errorf("reply: %v", err)
		}
		if len(d) != 1 {
			t.Errorf("reply = %v, want the status alone", d)
		}
		if d["Status"] != "RequestSuccessful" {
			t.Errorf("reply = %v, want RequestSuccessful", d)
		}
	})
}

func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.stream(Activity{})
		want := log.Entry{
			Time: time.Unix(1700000000, 654321000).UTC(), PID: 77, ProcessPath: "/a/Proc",
			ImagePath:   "/b/Lib",
			ProcessUUID: [16]byte{1, 2}, ImageUUID: [16]byte{
				3, 4,
			}, ThreadID: 5, ActivityID: 6, ImageOffset: 7,
			Level: log.LevelFault, Subsystem: "com.example", Category: "cat",
			Message: "grüße\nzwei", MachTime: 8,
		}
		r.phone.Log.Write(want)
		e, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := log.Entry{
			Time: e.Time, PID: e.PID, ProcessPath: e.ProcessPath, ImagePath: e.ImagePath,
			ProcessUUID: e.ProcessUUID,
			ImageUUID:   e.ImageUUID, ThreadID: e.ThreadID, ActivityID: e.ActivityID,
			ImageOffset: e.ImageOffset,
			Level:       log.Level(e.Level), Subsystem: e.Subsystem, Category: e.Category,
			Message: e.Message, MachTime: e.MachTime,
		}
		if got != want {
			t.Errorf("Next = %+v, want %+v", got, want)
		}
		if e.Process() != "Proc" {
			t.Errorf("process %q, want Proc", e.Process())
		}
		if e.Image() != "Lib" {
			t.Errorf("image %q, want Lib", e.Image())
		}
	})
}

func TestDeviceFilters(t *testing.T) {
	t.Parallel()
	levels := []log.Level{
		log.LevelDefault, log.LevelInfo, log.LevelDebug, log.LevelError, log.LevelFault,
	}
	for _, tc := range []struct {
		name string
		in   Activity
		want string // PID and level of the entry that arrives
	}{
		{"everything", Activity{}, "0/0 0/1 0/2 0/16 0/17 9/0 9/1 9/2 9/16 9/17"},
		{"one process", Activity{PID: 9}, "9/0 9/1 9/2 9/16 9/17"},
		{"kernel", Activity{Kernel: true}, "0/0 0/1 0/2 0/16 0/17"},
		{"no such process", Activity{PID: 12345}, ""},
		{"no debug", Activity{PID: 9, NoDebug: true}, "9/0 9/16 9/17"},
		{
			"info flag alone changes nothing", Activity{PID: 9, StreamFlags: FlagInfo},
			"9/0 9/16 9/17",
		},
		{
			"go-ios flags", Activity{PID: 9, MessageFilter: FilterLog, StreamFlags: FlagDebug},
			"9/0 9/1 9/2 9/16 9/17",
		},
		{"signposts only", Activity{MessageFilter: FilterSignpost}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				s := r.stream(tc.in)
				for _, pid := range []int{0, 9} {
					for _, l := range levels {
						r.phone.Log.Write(
							log.Entry{PID: pid, ProcessPath: "/p", Level: l, Message: "m"},
						)
					}
				}
				var got []string
				dst := make([]Entry, 3)
				for {
					n, err := s.NextBatch(within(t, time.Second), dst)
					if errors.Is(err, context.DeadlineExceeded) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range dst[:n] {
						got = append(got, fmt.Sprintf("%d/%d", e.PID, e.Level))
					}
				}
				if s := strings.Join(got, " "); s != tc.want {
					t.Errorf("got %q, want %q", s, tc.want)
				}
			})
		})
	}
}

// TestAllPidForms sends the three numbers that stand for all processes.
func TestAllPidForms(t *testing.T) {
	t.Parallel()
	for _, v := range []any{int64(-1), int64(0xFFFFFFFF), uint64(1<<64 - 1)} {
		got, err := pidOf(v)
		if got != -1 {
			t.Errorf("pidOf(%v) = %d, want -1", v, got)
		}
		if err != nil {
			t.Errorf("pidOf(%v): %v", v, err)
		}
	}
	for _, v := range []any{int64(-2), int64(1 << 40), "all", uint64(1 << 63), nil} {
		if got, err := pidOf(v); !errors.Is(err, ErrProtocol) {
			t.Errorf("pidOf(%v) = %d, %v, want ErrProtocol", v, got, err)
		}
	}
}

func TestSlowConsumerDoesNotBlockThePhone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.stream(Activity{})
		message := strings.Repeat("x", 1000)
		const total = 20000 // about 20 MB, far more than the pipe and the queue hold
		for i := range total {
			r.phone.Log.Write(log.Entry{
				PID: 1, ProcessPath: "/p", Message: message, ThreadID: uint64(i + 1),
			})
		}
		last, read := uint64(0), 0
		for last != total {
			e, err := s.Next(within(t, time.Minute))
			if err != nil {
				t.Fatalf("after %d records: %v", read, err)
			}
			if e.ThreadID <= last {
				t.Fatalf("record %d behind %d", e.ThreadID, last)
			}
			last = e.ThreadID
			read++
		}
		s.Close()
		synctest.Wait()
		dropped := r.dev.Dropped()
		if dropped == 0 {
			t.Error("no entry was dropped")
		}
		if int(dropped)+read != total {
			t.Errorf("read %d, dropped %d of %d", read, dropped, total)
		}
	})
}

func TestPidList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c, ended := r.dial()
		cl := New(c)
		got, err := cl.PidList(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := r.phone.Processes.List()
		if len(got) != len(want) {
			t.Fatalf("%d processes, want %d", len(got), len(want))
		}
		if len(got) == 0 {
			t.Fatal("no processes")
		}
		for i := range got {
			if got[i] != (Process{want[i].PID, want[i].Name}) {
				t.Errorf("process %d = %v, want %v", i, got[i], want[i])
			}
		}
		if _, err := cl.PidList(t.Context()); !errors.Is(err, ErrUsed) {
			t.Errorf("second request = %v, want ErrUsed", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// TestPidListFraming uses bytes in the form of the protocol sheet: a type 1 message
// with a big-endian length of more than one byte.
func TestPidListFraming(t *testing.T) {
	t.Parallel()
	xml := `<?xml version="1.0"?><plist version="1.0"><dict><key>Payload</key><dict><key>42</key><dict>` +
		`<key>ProcessName</key><string>SpringBoard</string></dict><key>7</key><dict/></dict>` +
		`<key>Status</key><string>RequestSuccessful</string></dict></plist>`
	b := append([]byte{1, 0, 0, 0, 0}, xml...)
	binary.BigEndian.PutUint32(b[1:], uint32(len(xml)))
	got, err := clientOf(t, b).PidList(t.Context())
	if err != nil {
		t.Errorf("PidList: %v", err)
	}
	if want := []Process{{7, ""}, {42, "SpringBoard"}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("PidList = %v, want %v", got, want)
	}
}

// clientOf returns a client whose peer has sent b and disconnected.
func clientOf(t *testing.T, b []byte) *Client { return New(servicetest.Peer(t, b)) }

func TestClientRefuses(t *testing.T) {
	t.Parallel()
	reply := func(xml string) string {
		b := append([]byte{1, 0, 0, 0, 0}, `<plist><dict>`+xml+`</dict></plist>`...)
		binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
		return string(b)
	}
	const done = `<key>Status</key><string>RequestSuccessful</string>`
	pids := suite.Calls["pid list"]
	suite.Fails(t, "nothing", "", pids, io.ErrUnexpectedEOF)
	suite.Fails(t, "half a head", "\x01\x00\x00", pids, io.ErrUnexpectedEOF)
	suite.Fails(t, "half a reply", "\x01\x00\x00\x00\x09b", pids, io.ErrUnexpectedEOF)
	suite.Fails(t, "another type", "\x02\x00\x00\x00\x09", pids, ErrProtocol)
	suite.Fails(t, "huge", "\x01\xff\xff\xff\xff", pids, link.ErrTooLarge)
	suite.Fails(t, "no plist", "\x01\x00\x00\x00\x02hi", pids, plist.ErrFormat)
	suite.Fails(t, "failed", reply(`<key>Status</key><string>RequestFailed</string>`), pids,
		ErrRefused)
	suite.Fails(t, "no status", reply(``), pids, ErrRefused)
	suite.Fails(t, "no payload", reply(done), pids, ErrProtocol)
	suite.Fails(t, "odd pid", reply(done+
		`<key>Payload</key><dict><key>x</key><dict/></dict>`), pids, ErrProtocol)
}

func TestDeviceRefuses(t *testing.T) {
	t.Parallel()
	frame := func(d plist.Dict) []byte {
		b, err := plist.Encode(d, plist.XML)
		if err != nil {
			t.Fatal(err)
		}
		return link.AppendFrame(nil, b)
	}
	for _, tc := range []struct {
		name   string
		in     []byte
		answer bool // the device answers RequestFailed
		fails  bool // Serve returns an error
	}{
		{"leaves at once", nil, false, false},
		{"half a length", []byte{0, 0}, false, true},
		{"half a request", []byte{0, 0, 0, 9, '<'}, false, true},
		{"huge", []byte{0x7F, 0, 0, 0}, false, true},
		{"no plist", []byte{0, 0, 0, 2, 'h', 'i'}, false, true},
		{"unknown", frame(plist.Dict{"Request": "Fly"}), true, true},
		{"no request", frame(plist.Dict{}), true, true},
		{"pid is text", frame(plist.Dict{"Request": "StartActivity", "Pid": "1"}), true, true},
		{
			"flags are text", frame(plist.Dict{"Request": "StartActivity", "StreamFlags": "1"}),
			true, true,
		},
		{
			"negative size", frame(plist.Dict{"Request": "CreateArchive", "SizeLimit": -5}), true,
			true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, ended := newRig(t).dial()
				if _, err := c.Write(tc.in); err != nil {
					t.Fatal(err)
				}
				_ = link.CloseWrite(c)
				err := <-ended
				if (err != nil) != tc.fails {
					t.Errorf("Serve = %v", err)
				}
				d, err := readReply(c)
				if tc.answer && (err != nil || d["Status"] != statusFailed) {
					t.Errorf("reply = %v, %v, want %s", d, err, statusFailed)
				}
				if !tc.answer && err == nil {
					t.Errorf("reply = %v, want none", d)
				}
			})
		})
	}
}
