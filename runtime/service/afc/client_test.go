package afc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// fake returns a client of a device that answers each request with the packets that fn
// returns. If fn returns nil, the device disconnects.
func fake(tb testing.TB, fn func(h header, body string) []string) *Client {
	tb.Helper()
	a, b := linktest.Prompt()
	c := New(a)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer b.Close()
		for {
			var raw [headerLen]byte
			if _, err := io.ReadFull(b, raw[:]); err != nil {
				return
			}
			h, err := decodeHeader(&raw)
			if err != nil {
				tb.Errorf("request: %v", err)
				return
			}
			body, err := link.ReadN(b, int(h.entire-headerLen), nil)
			if err != nil {
				return
			}
			answers := fn(h, string(body))
			if answers == nil {
				return
			}
			for _, s := range answers {
				if _, err := io.WriteString(b, s); err != nil {
					return
				}
			}
		}
	})
	tb.Cleanup(func() { c.Close(); wg.Wait() })
	return c
}

func ok(h header) string { return packet(h.packet, opStatus, u64(0), "") }

// TestWrongAnswers checks that an invalid but complete packet fails only its call, and
// that a packet with wrong framing or numbering ends the connection.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	raw := func(h header) string { return string(appendHeader(nil, h)) }
	tests := []struct {
		name   string
		answer func(n uint64) string
		ends   bool
	}{
		{
			"open result for a read",
			func(n uint64) string { return packet(n, opOpenResult, u64(1), "") }, false,
		},
		{
			"success for a read", func(n uint64) string { return packet(n, opStatus, u64(0), "") },
			false,
		},
		{"unknown operation", func(n uint64) string { return packet(n, 0x77, u64(0), "") }, false},
		{
			"more data than asked for",
			func(n uint64) string { return packet(n, opData, "", strings.Repeat("x", 101)) }, true,
		},
		{"a petabyte", func(n uint64) string {
			return raw(header{entire: 1 << 50, this: 40, packet: n, op: opData})
		}, true},
		{"nearly a terabyte", func(n uint64) string {
			return raw(header{entire: 1 << 39, this: 40, packet: n, op: opData})
		}, true},
		{"long status", func(n uint64) string { return packet(n, opStatus, u64(0, 0), "") }, true},
		{"empty status", func(n uint64) string { return packet(n, opStatus, "", "") }, true},
		{"this beyond entire", func(n uint64) string {
			return raw(header{entire: 40, this: 48, packet: n, op: opData})
		}, true},
		{"another number", func(n uint64) string { return packet(n+1, opData, "", "") }, true},
		{"no AFC", func(uint64) string { return strings.Repeat("HTTP/1.1 200 OK\r\n", 9) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := fake(t, func(h header, _ string) []string {
				switch h.op {
				case opOpen:
					return []string{packet(h.packet, opOpenResult, u64(1), "")}
				case opRead:
					return []string{tt.answer(h.packet)}
				}
				return []string{ok(h)}
			})
			f, err := c.Open(ctx(t), "/a", ModeRead)
			must(t, err)
			n, err := f.Read(ctx(t), make([]byte, 100))
			if n != 0 {
				t.Errorf("Read = %d, %v, want 0 bytes", n, err)
			}
			if err == nil || err == io.EOF {
				t.Errorf("Read: %v, want another error", err)
			}
			if ended := errors.Is(err, net.ErrClosed); ended != tt.ends {
				t.Errorf("%v; ends the connection: %v, want %v", err, ended, tt.ends)
			}
			if err := c.Mkdir(ctx(t), "/d"); (err != nil) != tt.ends {
				t.Errorf("next call: %v", err)
			}
		})
	}
}

func TestWrongContent(t *testing.T) {
	t.Parallel()
	c := fake(t, func(h header, _ string) []string {
		switch h.op {
		case opGetFileInfo, opGetDeviceInfo, opConnectionInfo:
			return []string{packet(h.packet, opData, "", "odd\x00number\x00of\x00")}
		case opReadDir: // data in the header payload, which no real device sends
			return []string{packet(h.packet, opData, "b\x00\x00", "a\x00.\x00..\x00")}
		}
		return []string{packet(h.packet, opOpenResult, u64(0), "")}
	})
	ctx := ctx(t)
	_, stat := c.Stat(ctx, "/")
	_, device := c.DeviceInfo(ctx)
	_, conn := c.ConnectionInfo(ctx)
	for _, err := range []error{stat, device, conn} {
		if !errors.Is(err, errKeys) {
			t.Errorf("%v, want errKeys", err)
		}
	}
	if f, err := c.Open(ctx, "/a", ModeRead); f != nil {
		t.Errorf("Open with the handle 0 = %v, want nil", f)
	} else if !errors.Is(err, errAnswer) {
		t.Errorf("Open with the handle 0: %v, want %v", err, errAnswer)
	}
	wantNames(t, c, "/", "a", "b")
}

// TestCancelWaiting checks that the answer to a cancelled call is dropped when it
// arrives, and that the connection stays usable.
func TestCancelWaiting(t *testing.T) {
	t.Parallel()
	arrived, answer := make(chan struct{}), make(chan struct{})
	c := fake(t, func(h header, body string) []string {
		if strings.HasPrefix(body, "slow") {
			close(arrived)
			<-answer
		}
		return []string{packet(h.packet, opData, "", "..\x00.\x00"+body)}
	})
	slow, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	if names, err := c.ReadDir(slow, "slow"); names != nil {
		t.Errorf("ReadDir = %v, want nil", names)
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("ReadDir: %v, want %v", err, context.Canceled)
	}
	close(answer)
	wantNames(t, c, "quick", "quick")
}

// TestCancelOpen checks that a file is closed if its opening was cancelled and the
// device opens it nevertheless.
func TestCancelOpen(t *testing.T) {
	t.Parallel()
	arrived, answer, closed := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	c := fake(t, func(h header, body string) []string {
		switch h.op {
		case opOpen:
			close(arrived)
			<-answer
			return []string{packet(h.packet, opOpenResult, u64(77), "")}
		case opClose:
			closed <- body
		}
		return []string{ok(h)}
	})
	slow, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	if f, err := c.Open(slow, "/a", ModeRead); f != nil {
		t.Errorf("Open = %v, want nil", f)
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v, want %v", err, context.Canceled)
	}
	close(answer)
	if got := <-closed; got != u64(77) {
		t.Errorf("closed %q, want handle 77", got)
	}
}

// TestCancelInsideData checks that the buffer belongs to the caller again as soon as
// Read returns, even if half of the answer is in it.
func TestCancelInsideData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Prompt()
		c := New(a)
		const size = 100_000
		f := &File{c: c, path: "/a", ref: 1}
		ctx, cancel := context.WithCancel(context.Background())
		buf := make([]byte, size)
		result := make(chan error, 1)
		go func() {
			_, err := f.Read(ctx, buf)
			result <- err
		}()
		whole := packet(1, opData, "", strings.Repeat("x", size))
		synctest.Wait()
		if _, err := io.WriteString(b, whole[:size/2]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the reader has read the first half and waits for more
		if buf[0] != 'x' {
			t.Error("data does not go straight into the buffer")
		}
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Fatalf("Read: %v, want canceled", err)
		}
		clear(buf)
		go func() { result <- c.Mkdir(context.Background(), "/d") }()
		synctest.Wait()
		if _, err := io.WriteString(b, whole[size/2:]+packet(2, opStatus, u64(0), "")); err != nil {
			t.Fatal(err)
		}
		must(t, <-result)
		if !bytes.Equal(buf, make([]byte, size)) {
			t.Error("the buffer was written to after Read had returned")
		}
		must(t, c.Close())
		b.Close()
	})
}

// TestCancelInWrite checks that a call that ends while its request is partly written
// does not affect others. The rest of the request is sent with the original data.
func TestCancelInWrite(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"deadline", "cancel"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { cancelInWrite(t, name == "cancel") })
		})
	}
}

func cancelInWrite(t *testing.T, cancelled bool) {
	a, b := linktest.Pipe()
	defer b.Close()
	c := New(a)
	f := &File{c: c, path: "/a", ref: 1}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	want := context.DeadlineExceeded
	if cancelled {
		want = context.Canceled
		time.AfterFunc(time.Second, cancel)
	}
	data := bytes.Repeat([]byte("x"), 1<<20)
	_, err := f.Write(ctx, data) // no goroutine reads from b
	if !errors.Is(err, want) {
		t.Errorf("Write: %v, want %v", err, want)
	}
	if errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v says that the connection is over", err)
	}
	clear(data) // it belongs to the caller again
	others := make(chan error, 1)
	go func() { others <- c.Mkdir(context.Background(), "/e") }()
	synctest.Wait()
	frame := make([]byte, headerLen+8+1<<20)
	if _, err := io.ReadFull(b, frame); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(frame[headerLen+8:], []byte("x")); n != 1<<20 {
		t.Errorf("%d bytes of the data arrived as they were, want all", n)
	}
	answers := packet(1, opStatus, u64(0), "") + packet(2, opStatus, u64(0), "")
	if _, err := io.CopyN(io.Discard, b, int64(headerLen+len("/e\x00"))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(b, answers); err != nil {
		t.Fatal(err)
	}
	if err := <-others; err != nil {
		t.Errorf("a call of somebody else: %v", err)
	}
	must(t, c.Close())
}

// TestStuckAfterCancel checks that the connection ends if a device does not read the
// rest of a request, so that the caller can open another connection.
func TestStuckAfterCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Pipe() // no goroutine reads from b
		defer b.Close()
		c := New(a)
		f := &File{c: c, path: "/a", ref: 1}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, err := f.Write(ctx, make([]byte, 1<<20))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Write: %v, want the deadline", err)
		}
		other := c.Mkdir(context.Background(), "/e")
		var ended *EndedError
		if !errors.As(other, &ended) {
			t.Errorf("another call: %#v is not a %T", other, ended)
		}
		if !errors.Is(other, errUnfinished) {
			t.Errorf("another call: %v, want %v", other, errUnfinished)
		}
		if errors.Is(other, context.DeadlineExceeded) {
			t.Errorf("another call: %v speaks of somebody else's deadline", other)
		}
		<-c.Done()
		must(t, c.Close())
	})
}

// TestDeadlineForTurn checks that a call that waits for the write of another call ends
// at its own deadline and does not affect other calls.
func TestDeadlineForTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Pipe()
		c := New(a)
		f := &File{c: c, path: "/a", ref: 1}
		done := make(chan error, 1)
		go func() {
			_, err := f.Write(context.Background(), make([]byte, 1<<20))
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Mkdir(ctx, "/d"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Mkdir: %v, want %v", err, context.DeadlineExceeded)
		} else if errors.Is(err, net.ErrClosed) {
			t.Errorf("Mkdir: %v matches net.ErrClosed", err)
		}
		if _, err := io.CopyN(io.Discard, b, headerLen+8+1<<20); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(b, packet(1, opStatus, u64(0), "")); err != nil {
			t.Fatal(err)
		}
		must(t, <-done)
		must(t, c.Close())
		b.Close()
	})
}

// TestClose checks that Close ends all calls. The bubble ends only if no goroutine is
// left.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Pipe()
		c := New(a)
		f := &File{c: c, path: "/a", ref: 1}
		errs := make(chan error, 3)
		go func() { errs <- c.Mkdir(context.Background(), "/d") }()
		go func() {
			_, err := f.Read(context.Background(), make([]byte, 10))
			errs <- err
		}()
		synctest.Wait()
		go func() {
			_, err := f.Write(context.Background(), make([]byte, 1<<20))
			errs <- err
		}()
		synctest.Wait()
		must(t, c.Close())
		must(t, c.Close())
		for range 3 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Errorf("call under way: %v, want net.ErrClosed", err)
			}
		}
		if err := c.Mkdir(context.Background(), "/d"); err == nil ||
			!strings.HasSuffix(err.Error(), "connection closed") {
			t.Errorf("call after Close: %v", err)
		}
		must(t, f.Close(context.Background()))
		b.Close()
	})
}

// TestDeviceLeaves checks that all pending calls fail when the device disconnects. The
// error must not be io.EOF, which means the end of a file.
func TestDeviceLeaves(t *testing.T) {
	t.Parallel()
	c := fake(t, func(header, string) []string { return nil })
	_, err := c.Stat(ctx(t), "/")
	for _, want := range []error{io.ErrUnexpectedEOF, net.ErrClosed} {
		if !errors.Is(err, want) {
			t.Errorf("Stat: %v does not match %v", err, want)
		}
	}
	if errors.Is(err, io.EOF) {
		t.Errorf("Stat: %v matches io.EOF", err)
	}
	<-c.Done()
}

// TestCancelOverTLS checks that an interrupted read, and a write whose caller leaves,
// do not damage the TLS connection.
func TestCancelOverTLS(t *testing.T) {
	t.Parallel()
	a, b := loopback(t)
	client, server := bothTLS(t, a, b)
	f := newFS()
	must(t, f.WriteFile("/big", make([]byte, 8<<20)))
	must(t, f.WriteFile("/small", []byte("small")))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := (&Device{FS: f, Model: "m"}).Serve(context.Background(), server); err != nil {
			t.Error(err)
		}
	})
	c := New(client)
	for i := range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		w := &hook{at: int64(i+1) * 300_000, fn: cancel}
		if _, err := c.Pull(ctx, "/big", w, Transfer{Piece: 150_000, InFlight: 8}); !errors.Is(err,
			context.Canceled) {
			t.Errorf("Pull: %v, want canceled", err)
		}
		again, cancelPush := context.WithCancel(context.Background())
		r := io.TeeReader(bytes.NewReader(make([]byte, 8<<20)),
			&hook{at: int64(i+1) * 700_000, fn: func() {
				go cancelPush() // interrupts the writer at an arbitrary point
			}})
		if _, err := c.Push(again, r, "/up", Transfer{}); err != nil &&
			!errors.Is(err, context.Canceled) {
			t.Errorf("Push: %v, want canceled", err)
		}
		if b, err := c.ReadFile(context.Background(),
			"/up"); err == nil { // cancelled too late
			if len(b) != 8<<20 {
				t.Errorf("a cancelled push left %d bytes", len(b))
			}
			must(t, c.Remove(context.Background(), "/up"))
		}
		b, err := c.ReadFile(context.Background(), "/small")
		if err != nil {
			t.Fatalf("ReadFile after %d cancelled transfers each way: %v", i+1, err)
		}
		if string(b) != "small" {
			t.Fatalf("ReadFile after %d cancelled transfers each way = %q", i+1, b)
		}
	}
	if names, err := c.ReadDir(context.Background(), "/"); err != nil {
		t.Errorf("ReadDir: %v", err)
	} else if len(names) != 2 {
		t.Errorf("the device has %q, want two files", names)
	}
	must(t, c.Close())
	wg.Wait()
}

// hook counts the bytes that are written and calls fn once when a limit is reached.
type hook struct {
	n, at int64
	fn    func()
}

func (h *hook) Write(p []byte) (int, error) {
	if h.n < h.at && h.n+int64(len(p)) >= h.at {
		h.fn()
	}
	h.n += int64(len(p))
	return len(p), nil
}
