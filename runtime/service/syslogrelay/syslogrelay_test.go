package syslogrelay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var berlin = time.FixedZone("", 3600)

func TestParse(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 1, 3, 12, 0, 0, 0, berlin)
	at := func(y int, m time.Month, d, h, mi, s int) time.Time {
		return time.Date(y, m, d, h, mi, s,
			0, berlin)
	}
	for _, tc := range []struct {
		name, in string
		want     Entry
	}{
		{"sample of the protocol page",
			"Jan  2 15:04:05 iPhone SpringBoard(CoreFoundation)[123] <Notice>: hello",
			Entry{
				Time: at(2024, 1, 2, 15, 4, 5), Host: "iPhone", Process: "SpringBoard",
				Image: "CoreFoundation", PID: 123, Level: Notice, Message: "hello",
			}},
		{"kernel, no image", "Jan 12 01:02:03 iPhone kernel[0] <Error>: a\nb",
			Entry{
				Time: at(2023, 1, 12, 1, 2, 3), Host: "iPhone", Process: "kernel", Level: Err,
				Message: "a\nb",
			}},
		{"last year", "Dec 31 23:59:59 iPhone a[1] <Fault>: x",
			Entry{
				Time: at(2023, 12, 31, 23, 59, 59), Host: "iPhone", Process: "a", PID: 1,
				Level: Fault, Message: "x",
			}},
		{"escapes", `Jan  3 12:00:00 M\M-C\M-<r Gr\M-C\M-<n[5] <Debug>: \M-C\M-< \134 \\ \^A\240`,
			Entry{
				Time: at(2024, 1, 3, 12, 0, 0), Host: "Mür", Process: "Grün", PID: 5, Level: Debug,
				Message: "ü \\ \\ \x01\uFFFD",
			}},
		{"brackets in the name", "Jan  3 12:00:00 h a[b] (c)(lib)[7] <Info>: [8] <Info>: z",
			Entry{
				Time: at(2024, 1, 3, 12, 0, 0), Host: "h", Process: "a[b] (c)", Image: "lib",
				PID: 7, Level: Info, Message: "[8] <Info>: z",
			}},
		{"empty message", "Jan  3 12:00:00 h p[7] <Info>: ",
			Entry{Time: at(2024, 1, 3, 12, 0, 0), Host: "h", Process: "p", PID: 7, Level: Info}},
	} {
		tc.want.Raw = tc.in
		if got := Parse([]byte(tc.in), now); got != tc.want {
			t.Errorf("%s:\nParse = %+v\nwant    %+v", tc.name, got, tc.want)
		}
	}
	for _, in := range []string{"", "[connected]", "Jan  2 15:04:05",
		"Foo  2 15:04:05 h p[1] <Info>: x", "Jan  2 15:04:05 h p[x] <Info>: x",
		"Jan  2 15:04:05 h p[1] Info: x", "Jan  2 15:04:05 h [1] <Info>: x",
		"Jan 32 15:04:05 h p[1] <Info>: x", "Jan  2 15:04:05 h p[99999999999] <Info>: x"} {
		if got := Parse([]byte(in), now); got != (Entry{Raw: in, Message: in, PID: -1}) {
			t.Errorf("Parse(%q) = %+v, want it raw", in, got)
		}
	}
}

func TestNewYear(t *testing.T) {
	t.Parallel()
	now := time.Date(2023, 12, 31, 23, 0, 0, 0, time.UTC)
	if got := Parse([]byte("Jan  1 00:10:00 h p[1] <Info>: x"), now).Time.Year(); got != 2024 {
		t.Errorf("a device whose new year came first is in %d", got)
	}
}

func TestVis(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"plain\ttab\nline", "plain\ttab\nline"},
		{"ü", `\M-C\M-<`},
		{"\u00A0", `\M-B\240`},
		{"\x00\x1b\x7f", `\^@\^[\^?`},
		{`a\b`, `a\134b`},
		{"日", `\M-f\M^W\M-%`},
	} {
		got := string(appendVis(nil, tc.in))
		if got != tc.want {
			t.Errorf("appendVis(%q) = %q, want %q", tc.in, got, tc.want)
		}
		if back := decodeVis(got); back != tc.in {
			t.Errorf("decodeVis(%q) = %q, want %q", got, back, tc.in)
		}
	}
}

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		p := phonetest.New(tb, phone.Options{})
		return &Device{Env: service.Env{Phone: p}}
	},
	Calls: servicetest.Calls[*Client]{"next": servicetest.Value((*Client).Next)},
	Typed: fuzztest.Typed[*service.Error],
}

func TestService(t *testing.T) { suite.Test(t) }

type rig struct {
	t     *testing.T
	phone *phone.Phone
	dev   *Device
}

func newRig(t *testing.T, o phone.Options) *rig {
	if o.LogRate == 0 {
		o.LogRate = -1
	}
	p, err := phone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, p, &Device{Env: service.Env{Phone: p}}}
}

func (r *rig) dial(ctx context.Context) (net.Conn, <-chan error) {
	c, done := servicetest.Dial(ctx, r.t, r.dev)
	synctest.Wait() // the device has begun to watch the log
	return c, done
}

// TestDeviceFormat compares whole records, including their columns.
func TestDeviceFormat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, phone.Options{Name: "Anna’s iPhone"})
		if err := r.phone.Values.Set("", "TimeZone", "America/New_York"); err != nil {
			t.Fatal(err)
		}
		c, _ := r.dial(t.Context())
		at := time.Date(2000, 1, 2, 20, 4, 5, 6789, time.UTC)
		for _, tc := range []struct {
			in   log.Entry
			want string
		}{
			{log.Entry{
				Time: at, PID: 123, ProcessPath: "/S/SpringBoard", ImagePath: "/F/CoreFoundation",
				Message: "hello",
			},
				"Jan  2 15:04:05 Annas-iPhone SpringBoard(CoreFoundation)[123] <Notice>: hello\n\x00"},
			{log.Entry{
				Time: at.AddDate(0, 0, 20), PID: 0, ProcessPath: "/kernel", ImagePath: "/kext",
				Level: log.LevelError, Message: "ü\nzwei",
			},
				"Jan 22 15:04:05 Annas-iPhone kernel[0] <Error>: \\M-C\\M-<\nzwei\n\x00"},
			{log.Entry{
				Time: at, PID: 7, ProcessPath: "/a/b", ImagePath: "/a/b", Level: log.LevelDebug,
				Message: "nul\x00",
			},
				"Jan  2 15:04:05 Annas-iPhone b[7] <Debug>: nul\\^@\n\x00"},
		} {
			r.phone.Log.Write(tc.in)
			got := make([]byte, len(tc.want))
			_, err := io.ReadFull(c, got)
			if err != nil {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if string(got) != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		}
	})
}

func TestClientAgainstDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, phone.Options{LogRate: 500})
		c, ended := r.dial(t.Context())
		cl := New(c)
		for range 1000 {
			e, err := cl.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if e.PID < 0 {
				t.Fatalf("the entry %+v has a negative process number", e)
			}
			if e.Process == "" {
				t.Fatalf("the entry %+v has no process", e)
			}
			if e.Level == "" {
				t.Fatalf("the entry %+v has no level", e)
			}
			if e.Time.IsZero() {
				t.Fatalf("the entry %+v has no time", e)
			}
		}
		cl.Close()
		cl.Close()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if _, err := cl.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next after Close = %v", err)
		}
	})
}

func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, phone.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		_, ended := r.dial(ctx)
		for range 20000 { // the host does not read
			r.phone.Log.Write(log.Entry{PID: 1, Message: strings.Repeat("x", 1000)})
		}
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
		if r.dev.Dropped() == 0 {
			t.Error("nothing was dropped")
		}
	})
}

// TestPieces sends one byte at a time and cancels calls of Next in between.
func TestPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe()
		defer d.Close()
		cl := New(c)
		defer cl.Close()
		stream := "a\x00b\n\x00\n\x00\x00\nsecond\n\x00"
		want := []string{"a\x00b", "\nsecond"}
		var got []string
		for i := range len(stream) {
			if _, err := d.Write([]byte{stream[i]}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			r, err := cl.NextRecord(ctx)
			cancel()
			if err == nil {
				got = append(got, string(r))
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("records %q, want %q", got, want)
		}
	})
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   string
		good int
		want error
	}{
		{"at once", "", 0, io.EOF},
		{"inside a record", "a\n\x00half", 1, io.EOF},
		{"too long", "a\n\x00" + strings.Repeat("x", MaxRecord+readSize), 1, io.EOF},
	} {
		cl := New(servicetest.Peer(t, []byte(tc.in)))
		got := 0
		_, err := cl.Next(t.Context())
		for ; err == nil; _, err = cl.Next(t.Context()) {
			got++
		}
		if got != tc.good {
			t.Errorf("%s: %d records, want %d", tc.name, got, tc.good)
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		cl.Close()
	}
}

// TestClosed checks that records that have arrived are not returned after Close.
func TestClosed(t *testing.T) {
	t.Parallel()
	cl := New(servicetest.Peer(t, []byte("one\n\x00two\n\x00")))
	if _, err := cl.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	if _, err := cl.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next after Close: %v, want %v", err, net.ErrClosed)
	}
}

// TestLongestRecord checks that it does not depend on the pieces in which a record
// arrives whether it is too long.
func TestLongestRecord(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]string{MaxRecord: "end", MaxRecord + 1: "end: 1 too long"} {
		all := strings.Repeat("x", length) + "\n\x00end\n\x00"
		for _, split := range []int{
			0, 1, MaxRecord - 1, MaxRecord, MaxRecord + 1, MaxRecord + 2, MaxRecord + 3,
		} {
			near, far := net.Pipe()
			cl := New(near)
			go func() {
				defer far.Close()
				_, _ = io.WriteString(far, all[:split])
				_, _ = io.WriteString(far, all[split:])
			}()
			var last string
			var err error
			for err == nil {
				var r []byte
				r, err = cl.NextRecord(t.Context())
				if err == nil {
					last = string(r)
				}
			}
			if n := cl.Malformed(); n > 0 {
				last += fmt.Sprintf(": %d too long", n)
			}
			if last != want {
				t.Errorf("length %d, split at %d: %q, want %q", length, split, last, want)
			}
			cl.Close()
		}
	}
}

// TestBadRecords sends a good record, a malformed one, a good one and the end. Both
// good ones arrive. A line that does not have the form of a record is returned as text.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		odd       string
		text, bad int
	}{
		"empty":        {"\n\x00\n\x00", 0, 0},
		"NULs":         {"\x00\x00\n\x00", 0, 0},
		"no record":    {"<<< >>> [ ] \\\\\n\x00", 1, 0},
		"broken UTF-8": {"\xff\xfe\n\x00", 1, 0},
		"too long":     {strings.Repeat("x", MaxRecord+readSize) + "\n\x00", 0, 1},
		"endless":      {strings.Repeat("x", 20*MaxRecord) + "\n\x00", 0, 1},
		"end on edge":  {strings.Repeat("x", MaxRecord) + "\n\x00", 1, 0},
		"two too long": {strings.Repeat(strings.Repeat("x", 2*MaxRecord)+"\n\x00", 2), 0, 2},
	} {
		cl := New(servicetest.Peer(t, []byte("first\n\x00"+tc.odd+"second\n\x00")))
		var got []string
		var err error
		for err == nil {
			var e Entry
			e, err = cl.Next(t.Context())
			if err == nil {
				got = append(got, e.Raw)
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want io.EOF", name, err)
		}
		n := len(got)
		if n != 2+tc.text {
			t.Fatalf("%s: %d records, want %d", name, n, 2+tc.text)
		}
		if got[0] != "first" {
			t.Errorf("%s: the first record is %q", name, got[0])
		}
		if got[n-1] != "second" {
			t.Errorf("%s: the last record is %q", name, got[n-1])
		}
		if n := cl.Malformed(); n != uint64(tc.bad) {
			t.Errorf("%s: %d malformed records, want %d", name, n, tc.bad)
		}
		if n := cap(cl.buf); n > 8*MaxRecord {
			t.Errorf("%s: the buffer has grown to %d bytes", name, n)
		}
		cl.Close()
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Jan  2 15:04:05 iPhone SpringBoard(CoreFoundation)[123] <Notice>: hello")
	f.Add(`Jan 12 15:04:05 h p[1] <X>: \M-\^\1`)
	f.Add("Feb 29 15:04:05 h p[1]] <] <Info>: x")
	now := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if e := Parse([]byte(s), now); e.Raw != s {
			t.Errorf("Raw = %q, want %q", e.Raw, s)
		}
	})
}

func FuzzVis(f *testing.F) {
	f.Add("grün\\x\x00\xa0")
	f.Fuzz(func(t *testing.T, s string) {
		enc := appendVis(nil, s)
		if bytes.IndexByte(enc, 0) >= 0 {
			t.Errorf("NUL in %q", enc)
		}
		if got := decodeVis(string(enc)); got != strings.ToValidUTF8(s, "\uFFFD") {
			t.Errorf("decodeVis(%q) = %q, want %q", enc, got, s)
		}
	})
}

type endless struct {
	net.Conn
	block []byte
	off   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.block[e.off:])
	e.off = (e.off + n) % len(e.block)
	return n, nil
}

func BenchmarkNext(b *testing.B) {
	rec := appendRecord(nil, time.Now(), "iPhone", "SpringBoard", "FrontBoard", 58, Notice,
		"[app<com.example.app>:1234] Setting process visibility to: Foreground")
	cl := New(&endless{block: bytes.Repeat(rec, 100)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cl.Next(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkAppendRecord(b *testing.B) {
	var buf []byte
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], at, "iPhone", "SpringBoard", "FrontBoard", 58, Notice,
			"[app<com.example.app>:1234] Setting process visibility to: Foreground")
	}
}
