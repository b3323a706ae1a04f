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
					if m, err := ends[0].Write(rest[:n]); m != n || err != nil {
						t.Errorf("Write = %d, %v", m, err)
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
						if err != io.EOF || !bytes.Equal(got, data) {
							t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
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

func TestPipeClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		io.WriteString(a, "last words")
		a.Close()
		if err := a.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
		if got, err := io.ReadAll(b); err != nil || string(got) != "last words" {
			t.Errorf("after the peer's Close: %q, %v", got, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write to a closed peer = %v", err)
		}
		for name, call := range map[string]func([]byte) (int, error){
			"Read": a.Read, "Write": a.Write,
		} {
			if n, err := call([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s on a closed end = %d, %v", name, n, err)
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
		if got, err := io.ReadAll(b); err != nil || string(got) != "question" {
			t.Errorf("question: %q, %v", got, err)
		}
		io.WriteString(b, "answer")
		CloseWrite(b)
		if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
			t.Errorf("answer: %q, %v", got, err)
		}
	})
}

// Close ends calls that wait, on either end and in either direction.
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
		if _, err := a.Read(buf); !isTimeout(err) || time.Since(start) != time.Second {
			t.Errorf("Read = %v after %v", err, time.Since(start))
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
		if n, err := a.Read(buf); n != 1 || err != nil {
			t.Errorf("after the deadline was taken away Read = %d, %v", n, err)
		}
		// A deadline that has passed, one that is moved, one set while waiting.
		a.SetDeadline(start.Add(-time.Hour))
		_, err1 := a.Read(buf)
		if _, err2 := a.Write(buf); !isTimeout(err1) || !isTimeout(err2) {
			t.Errorf("in the past: %v, %v", err1, err2)
		}
		a.SetDeadline(time.Now().Add(time.Second))
		a.SetDeadline(time.Now().Add(time.Minute))
		start = time.Now()
		if n, err := a.Write(make([]byte, 2*pipeBuffer)); !isTimeout(err) || n != pipeBuffer ||
			time.Since(start) != time.Minute {
			t.Errorf("Write = %d, %v after %v", n, err, time.Since(start))
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
	if a.LocalAddr() == nil || a.RemoteAddr().Network() != "pipe" || a.LocalAddr().String() == "" {
		t.Error("no address")
	}
	if n, err := a.Write(nil); n != 0 || err != nil {
		t.Errorf("empty Write = %d, %v", n, err)
	}
	if n, err := a.Read(nil); n != 0 || err != nil {
		t.Errorf("empty Read = %d, %v", n, err)
	}
}

// Deadlines, reads, writes and closes from many goroutines; the race detector
// is the judge.
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

// guards are the three kinds, each with a call that it bounds.
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
					if !errors.As(err, &i) || !errors.Is(err, c.want) ||
						!errors.Is(err, os.ErrDeadlineExceeded) || i.Timeout() != c.timeout {
						t.Errorf("%v, want %v", err, c.want)
					}
				}
				// Nothing of it stays: the next call waits again.
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

// A cancel that comes while release runs must not poison the next call.
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
