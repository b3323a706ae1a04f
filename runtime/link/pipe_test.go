package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeCarriesBothWays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		data := make([]byte, 3*pipeBuffer+12345)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		var wg sync.WaitGroup
		for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
			wg.Go(func() { // in pieces of every size
				for rest := data; len(rest) > 0; {
					n := min(1+rand.IntN(100_000), len(rest))
					m, err := ends[0].Write(rest[:n])
					if m != n {
						t.Errorf("Write of %d bytes = %d", n, m)
					}
					if err != nil {
						t.Errorf("Write of %d bytes: %v", n, err)
					}
					rest = rest[n:]
				}
				CloseWrite(ends[0])
			})
			wg.Go(func() {
				var got []byte
				for {
					p := make([]byte, 1+rand.IntN(50_000))
					n, err := ends[1].Read(p)
					got = append(got, p[:n]...)
					if err != nil {
						if err != io.EOF {
							t.Errorf("Read = %v, want %v", err, io.EOF)
						}
						if !bytes.Equal(got, data) {
							t.Errorf("%d bytes arrive, want other %d bytes", len(got), len(data))
						}
						return
					}
				}
			})
		}
		wg.Wait()
		a.Close()
		b.Close()
	})
}

// wantText reads to the end and compares what was read with want.
func wantText(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("reading %q: %v", want, err)
	}
	if string(got) != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestPipeClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		io.WriteString(a, "last words")
		a.Close()
		if err := a.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
		wantText(t, b, "last words")
		if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write to a closed peer = %v", err)
		}
		for name, call := range map[string]func([]byte) (int, error){
			"Read": a.Read, "Write": a.Write,
		} {
			n, err := call([]byte("x"))
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s on a closed end = %v, want %v", name, err, net.ErrClosed)
			}
			if n != 0 {
				t.Errorf("%s on a closed end has %d bytes", name, n)
			}
		}
		b.Close()
	})
}

func TestPipeHalfClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		defer a.Close()
		defer b.Close()
		io.WriteString(a, "question")
		CloseWrite(a)
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after CloseWrite = %v", err)
		}
		wantText(t, b, "question")
		io.WriteString(b, "answer")
		CloseWrite(b)
		wantText(t, a, "answer")
	})
}

// TestPipeCloseUnblocks checks that Close ends the waiting reads and writes of both ends.
func TestPipeCloseUnblocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		remote bool
		write  bool
		want   error
	}{
		"own close, reading":    {false, false, net.ErrClosed},
		"own close, writing":    {false, true, net.ErrClosed},
		"peer's close, reading": {true, false, io.EOF},
		"peer's close, writing": {true, true, io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe()
				got := make(chan error)
				go func() {
					var err error
					if c.write {
						_, err = a.Write(make([]byte, 2*pipeBuffer))
					} else {
						_, err = a.Read(make([]byte, 1))
					}
					got <- err
				}()
				synctest.Wait()
				if c.remote {
					b.Close()
				} else {
					a.Close()
				}
				if err := <-got; !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				a.Close()
				b.Close()
			})
		})
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout() && errors.Is(err, os.ErrDeadlineExceeded)
}

func TestPipeDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		defer a.Close()
		defer b.Close()
		buf := make([]byte, 1)
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Second))
		_, err := a.Read(buf)
		if !isTimeout(err) {
			t.Errorf("Read = %v, want a timeout", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("Read took %v, want 1s", took)
		}
		io.WriteString(b, "x")
		if _, err := a.Read(buf); !isTimeout(err) {
			t.Errorf("Read past its deadline = %v, although there is a byte", err)
		}
		if _, err := a.Write(buf); err != nil {
			t.Errorf("Write = %v, although the deadline is for reading", err)
		}
		io.ReadFull(b, make([]byte, 1)) // so that its buffer is empty below
		a.SetReadDeadline(time.Time{})
		if n, err := a.Read(buf); n != 1 {
			t.Errorf("after the deadline was taken away Read has %d bytes, want 1", n)
		} else if err != nil {
			t.Errorf("after the deadline was taken away Read = %v", err)
		}
		// The deadline has passed, then it is moved, then it is set during a call.
		a.SetDeadline(start.Add(-time.Hour))
		_, err1 := a.Read(buf)
		_, err2 := a.Write(buf)
		if !isTimeout(err1) {
			t.Errorf("Read with a deadline in the past = %v, want a timeout", err1)
		}
		if !isTimeout(err2) {
			t.Errorf("Write with a deadline in the past = %v, want a timeout", err2)
		}
		a.SetDeadline(time.Now().Add(time.Second))
		a.SetDeadline(time.Now().Add(time.Minute))
		start = time.Now()
		n, err := a.Write(make([]byte, 2*pipeBuffer))
		if !isTimeout(err) {
			t.Errorf("Write = %v, want a timeout", err)
		}
		if n != pipeBuffer {
			t.Errorf("Write wrote %d bytes, want %d", n, pipeBuffer)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("Write took %v, want 1m", took)
		}
		a.SetDeadline(time.Time{})
		got := make(chan error)
		go func() { _, err := a.Read(buf); got <- err }()
		synctest.Wait()
		a.SetReadDeadline(time.Now().Add(-1))
		if err := <-got; !isTimeout(err) {
			t.Errorf("set while waiting: %v", err)
		}
	})
}

func TestPipeAddresses(t *testing.T) {
	t.Parallel()
	a, _ := Pipe()
	if a.LocalAddr() == nil {
		t.Error("LocalAddr = nil")
	} else if a.RemoteAddr().Network() != "pipe" {
		t.Errorf("the network of RemoteAddr = %q, want pipe", a.RemoteAddr().Network())
	} else if a.LocalAddr().String() == "" {
		t.Error("the text of LocalAddr is empty")
	}
	if n, err := a.Write(nil); n != 0 {
		t.Errorf("an empty Write wrote %d bytes", n)
	} else if err != nil {
		t.Errorf("an empty Write: %v", err)
	}
	if n, err := a.Read(nil); n != 0 {
		t.Errorf("an empty Read has %d bytes", n)
	} else if err != nil {
		t.Errorf("an empty Read: %v", err)
	}
}

// TestPipeRaces reads, writes, closes and sets deadlines from many goroutines. It finds
// faults when it runs with the race detector.
func TestPipeRaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		var wg sync.WaitGroup
		for _, c := range []net.Conn{a, b} {
			for range 4 {
				wg.Go(func() { io.CopyN(io.Discard, c, 1<<20) })
				wg.Go(func() { c.Write(make([]byte, 1<<20)) })
				wg.Go(func() {
					for range 100 {
						c.SetDeadline(time.Now().Add(time.Duration(rand.IntN(3)) * time.Minute))
						time.Sleep(time.Microsecond)
					}
				})
			}
		}
		time.Sleep(time.Minute)
		a.Close()
		b.Close()
		wg.Wait()
	})
}

// guards has the three kinds of guards, each with a call that it bounds.
var guards = map[string]struct {
	guard func(context.Context, net.Conn) func(error) error
	call  func(net.Conn) error
}{
	"read": {GuardRead, func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
	"write": {
		GuardWrite,
		func(c net.Conn) error { _, err := c.Write(make([]byte, 2*pipeBuffer)); return err },
	},
	"both": {Guard, func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
}

func TestGuard(t *testing.T) {
	t.Parallel()
	for name, g := range guards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe()
				defer a.Close()
				defer b.Close()
				reason := errors.New("the reason")
				byCause, cancel := context.WithCancelCause(context.Background())
				time.AfterFunc(time.Second, func() { cancel(reason) })
				byDeadline, stop := context.WithTimeout(context.Background(), time.Second)
				defer stop()
				ended, stop2 := context.WithCancel(context.Background())
				stop2()
				for _, c := range []struct {
					ctx     context.Context
					want    error
					timeout bool
				}{{
					byCause, reason, false,
				}, {byDeadline, context.DeadlineExceeded, true}, {ended, context.Canceled, false}} {
					release := g.guard(c.ctx, a)
					err := release(g.call(a))
					var i *Interrupted
					if !errors.As(err, &i) {
						t.Errorf("the error is %v, want an Interrupted", err)
					} else if !errors.Is(err, c.want) {
						t.Errorf("the error is %v, want %v", err, c.want)
					} else if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("the error is %v, want %v", err, os.ErrDeadlineExceeded)
					} else if i.Timeout() != c.timeout {
						t.Errorf("Timeout() of %v = %v, want %v", err, i.Timeout(), c.timeout)
					}
				}
				// The interruption must not affect the next call, which waits again.
				got := make(chan error, 1)
				go func() { got <- guards[name].call(a) }()
				synctest.Wait()
				select {
				case err := <-got:
					t.Errorf("after release: %v", err)
				default:
				}
				a.Close()
				<-got
			})
		})
	}
}

func TestGuardLeavesOtherErrors(t *testing.T) {
	t.Parallel()
	a, b := Pipe()
	b.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := GuardRead(ctx, a)(guards["read"].call(a)); err != io.EOF {
		t.Errorf("%v, want EOF", err)
	}
	if err := GuardRead(ctx, a)(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	a.SetReadDeadline(time.Unix(1, 0))
	if err := GuardRead(context.Background(), a)(guards["read"].call(a)); !isTimeout(err) {
		t.Errorf("a deadline of somebody else: %v", err)
	}
}

// A context that is cancelled while release runs must not interrupt the next call.
func TestGuardReleaseRace(t *testing.T) {
	t.Parallel()
	a, b := Pipe()
	defer a.Close()
	defer b.Close()
	buf := make([]byte, 1)
	for range 2000 {
		ctx, cancel := context.WithCancel(context.Background())
		b.Write(buf)
		release := GuardRead(ctx, a)
		done := make(chan struct{})
		go func() { cancel(); close(done) }()
		_, err := a.Read(buf)
		if release(err) != nil {
			a.Read(buf) // the byte that the cancelled call left
		}
		<-done
		b.Write(buf)
		if _, err := a.Read(buf); err != nil {
			t.Fatalf("the call after it: %v", err)
		}
	}
}
