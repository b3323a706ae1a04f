package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestReadN(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 50_000)
	for _, n := range []int{0, 1, growStep - 1, growStep, growStep + 1, len(data)} {
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(data), "halves": iotest.HalfReader(bytes.NewReader(data)),
			"with its end": iotest.DataErrReader(bytes.NewReader(data[:n])),
		} {
			got, err := ReadN(r, n, nil)
			if err != nil {
				t.Errorf("%s: ReadN of %d bytes: %v", name, n, err)
			} else if !bytes.Equal(got, data[:n]) {
				t.Errorf("%s: ReadN of %d bytes returns %d other bytes", name, n, len(got))
			}
		}
	}
	own := make([]byte, 0, 100)
	got, _ := ReadN(bytes.NewReader(data), 100, own)
	if &got[0] != &own[:1][0] {
		t.Error("the caller's memory is not used")
	}
	for _, n := range []int{1, 10, len(data) + 1} {
		got, err := ReadN(bytes.NewReader(data[:n-1]), n, nil)
		if err != io.ErrUnexpectedEOF {
			t.Errorf("ReadN with one of %d bytes missing = %v, want %v", n, err,
				io.ErrUnexpectedEOF)
		}
		if got != nil {
			t.Errorf("ReadN with one of %d bytes missing returns %d bytes", n, len(got))
		}
	}
}

// TestReadNMemory checks that a declared length alone does not allocate memory.
func TestReadNMemory(t *testing.T) {
	got := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			ReadN(bytes.NewReader(make([]byte, 100)), 1<<30, nil)
		}
	}).AllocedBytesPerOp()
	if got > 4*growStep {
		t.Errorf("%d bytes taken for 100 that came", got)
	}
}

func TestReadFrame(t *testing.T) {
	t.Parallel()
	b := AppendFrame(AppendFrame(nil, []byte("one")), nil)
	if want := "\x00\x00\x00\x03one\x00\x00\x00\x00"; string(b) != want {
		t.Errorf("AppendFrame = %q, want %q", b, want)
	}
	r := bytes.NewReader(b)
	if got, err := ReadFrame(r, 3, nil); err != nil {
		t.Errorf("ReadFrame: %v", err)
	} else if string(got) != "one" {
		t.Errorf("ReadFrame = %q, want one", got)
	}
	if got, err := ReadFrame(r, 3, nil); err != nil {
		t.Errorf("ReadFrame of an empty frame: %v", err)
	} else if len(got) != 0 {
		t.Errorf("ReadFrame of an empty frame = %q", got)
	}
	if _, err := ReadFrame(r, 3, nil); err != io.EOF {
		t.Errorf("at the end %v, want EOF", err)
	}
	for n := 1; n < 7; n++ {
		if _, err := ReadFrame(bytes.NewReader(b[:n]), 3, nil); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes of a frame: %v", n, err)
		}
	}
	for _, n := range []uint32{4, 1 << 31, 1<<32 - 1} {
		_, err := ReadFrame(bytes.NewReader(binary.BigEndian.AppendUint32(nil, n)), 3, nil)
		var e *FrameError
		if !errors.As(err, &e) {
			t.Errorf("length %d: ReadFrame = %v, want a FrameError", n, err)
		} else if e.Length != n {
			t.Errorf("length %d: the error has the length %d", n, e.Length)
		} else if e.Max != 3 {
			t.Errorf("length %d: the error has the limit %d, want 3", n, e.Max)
		}
	}
}

func TestPlistConn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		a, b := Pipe()
		client, server := NewPlistConn(a), &PlistConn{Conn: b, Format: plist.Binary}
		go func() {
			d, _ := server.RecvDict(ctx)
			server.Send(ctx, plist.Dict{"Echo": d})
			server.CloseWrite()
		}()
		var answer struct{ Echo plist.Dict }
		request := plist.Dict{"Request": "QueryType"}
		if err := client.Call(ctx, request, &answer); err != nil {
			t.Errorf("Call: %v", err)
		}
		if !reflect.DeepEqual(answer.Echo, request) {
			t.Errorf("Call = %v, want %v", answer.Echo, request)
		}
		d, err := client.RecvDict(ctx)
		if err != io.EOF {
			t.Errorf("RecvDict at the end = %v, want EOF", err)
		}
		if d != nil {
			t.Errorf("RecvDict at the end returns %v", d)
		}
		if err := client.Call(ctx, plist.Dict{}, &answer); err != io.ErrUnexpectedEOF {
			t.Errorf("Call at the end = %v", err)
		}
		if err := client.Send(ctx, nil); err == nil {
			t.Error("nil is sent")
		}
		a.Close()
		b.Close()
	})
}

func TestPlistConnBadFrames(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"half a length": "\x00\x00", "half a body": "\x00\x00\x00\x09<pl",
		"too long": "\x7f\x00\x00\x00", "junk": "\x00\x00\x00\x04junk",
		"an array": "\x00\x00\x00\x16<plist><array/></plist",
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := Pipe()
			io.WriteString(b, in)
			b.Close()
			p := NewPlistConn(a)
			d, err := p.RecvDict(context.Background())
			if err == nil || err == io.EOF {
				t.Errorf("%s: RecvDict = %v, want an error that is not EOF", name, err)
			}
			if d != nil {
				t.Errorf("%s: RecvDict returns %v", name, d)
			}
			a.Close()
		})
	}
}

// A read that was interrupted in the middle of a frame must be continued by the next
// one.
func TestPlistConnResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		defer a.Close()
		defer b.Close()
		p := NewPlistConn(a)
		whole := AppendFrame(nil, []byte(
			"<plist><string>"+string(bytes.Repeat([]byte("x"), 200_000))+"</string></plist>",
		))
		for _, part := range [][]byte{
			nil, whole[:2], whole[2:4], whole[4:100], whole[100:150_000],
		} {
			b.Write(part)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := p.RecvBytes(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("RecvBytes = %v, want a time-out", err)
			}
			cancel()
		}
		b.Write(whole[150_000:])
		first, err := p.RecvBytes(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		b.Write(AppendFrame(nil, bytes.Repeat([]byte("y"), 100_000)))
		second, err := p.RecvBytes(context.Background())
		if err != nil {
			t.Fatalf("the next frame: %v", err)
		} else if len(second) != 100_000 {
			t.Fatalf("the next frame has %d bytes, want 100000", len(second))
		}
		if !bytes.Equal(first, whole[4:]) {
			t.Error("the frame came in damaged, or the next one was written over it")
		}
	})
}

// One goroutine reads while another writes, each bounded by its own context.
func TestPlistConnBothDirections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		defer a.Close()
		defer b.Close()
		p, peer := NewPlistConn(a), NewPlistConn(b)
		reading := make(chan error)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, err := p.RecvDict(ctx); reading <- err }()
		for range 100 {
			short, stop := context.WithTimeout(context.Background(), time.Second)
			if err := p.Send(short, plist.Dict{"n": 1}); err != nil {
				t.Fatal(err)
			}
			stop()
			if _, err := peer.RecvDict(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-reading; !errors.Is(err, context.Canceled) {
			t.Errorf("reader: %v", err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(AppendFrame(nil, []byte("body")))
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Add([]byte{0, 0, 0, 9, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ReadFrame(bytes.NewReader(b), 1<<16, nil)
		if err == nil && !bytes.HasPrefix(b, AppendFrame(nil, got)) {
			t.Fatalf("% x gives % x", b, got)
		}
	})
}

// Text that XML cannot represent must reach the peer, and the next message must be XML
// again.
func TestPlistConnControlCharacters(t *testing.T) {
	t.Parallel()
	a, b := Pipe()
	defer a.Close()
	defer b.Close()
	sender, receiver := NewPlistConn(a), NewPlistConn(b)
	for _, c := range []struct {
		text string
		form plist.Format
	}{{"a\x01\x1b[0m\uffff", plist.Binary}, {"plain", plist.XML}} {
		want := plist.Dict{"Echo": c.text}
		if err := sender.Send(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		body, err := receiver.RecvBytes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if form, err := plist.FormatOf(body); err != nil {
			t.Errorf("%q: FormatOf: %v", c.text, err)
		} else if form != c.form {
			t.Errorf("%q: the form is %v, want %v", c.text, form, c.form)
		}
		if got, err := plist.DecodeDict(body); err != nil {
			t.Errorf("%q: DecodeDict: %v", c.text, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: DecodeDict = %v, want %v", c.text, got, want)
		}
	}
}
