package remotexpc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

type reply struct {
	stream, flags uint32
	id            uint64 // 0 means the first request's, 1 the second's, and so on
	body          int64  // 0 means none
}

var replyCases = map[string]struct {
	replies []reply
	any     bool
	want    [2]int64
	queued  int64
}{
	"in order": {
		[]reply{{3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 3, 20}}, false, [2]int64{10, 20}, 0,
	},
	"crossed": {
		[]reply{{3, xpc.FlagsReply, 3, 20}, {3, xpc.FlagsReply, 1, 10}}, false, [2]int64{10, 20}, 0,
	},
	"one id for all": {
		[]reply{{3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 1, 20}}, false, [2]int64{10, 20}, 0,
	},
	"strange ids": {
		[]reply{{3, xpc.FlagsReply, 0, 10}, {3, xpc.FlagsReply, 99, 20}}, false, [2]int64{10, 20},
		0,
	},
	"no mark": {
		[]reply{{3, xpc.FlagsOneWay, 1, 10}, {3, xpc.FlagsOneWay, 3, 20}}, false, [2]int64{10, 20},
		0,
	},
	"news in between": {
		[]reply{{1, xpc.FlagsOneWay, 1, 5}, {3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 3, 20}},
		false, [2]int64{10, 20}, 5,
	},
	"marked on 1": {
		[]reply{{1, xpc.FlagsReply, 3, 20}, {1, xpc.FlagsReply, 1, 10}}, false, [2]int64{10, 20}, 0,
	},
	"on 1": {
		[]reply{{1, xpc.FlagsOneWay, 2, 10}, {1, xpc.FlagsOneWay, 4, 20}}, true, [2]int64{10, 20},
		0,
	},
	"empty ones before": {
		[]reply{
			{3, xpc.FlagAlwaysSet, 1, 0}, {1, xpc.FlagAlwaysSet, 1, 0}, {3, xpc.FlagsReply, 1, 10},
			{3, xpc.FlagsReply, 3, 20},
		},
		false, [2]int64{10, 20}, 0,
	},
	"a request": {[]reply{
		{1, xpc.FlagsRequest, 1, 5}, {1, xpc.FlagsOneWay, 1, 10}, {1, xpc.FlagsOneWay, 3, 20},
	}, true, [2]int64{10, 20}, 5},
}

// TestReplies covers the ways in which replies are matched to calls.
func TestReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, tt := range replyCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, h := handDevice(t, Options{Pipeline: true}, 1<<20)
			p.headers(1)
			p.headers(3)
			var got [2]chan int64
			for i := range got {
				got[i] = make(chan int64, 1)
				go func() {
					call := h.Call
					if tt.any {
						call = h.CallAny
					}
					body, err := call(ctx, xpc.Dict{{Key: "ask", Value: int64(i)}})
					if err != nil {
						t.Error(err)
					}
					n, _ := body.Int("n")
					got[i] <- n
				}()
				// The request has been sent before the second one is made.
				if m := p.messages(1, 1)[0]; len(m.Body) == 0 {
					p.messages(1, 2-min(i, 1))
				}
			}
			for _, r := range tt.replies {
				var body xpc.Dict
				if r.body != 0 {
					body = xpc.Dict{{Key: "n", Value: r.body}}
				}
				p.data(r.stream, message(r.flags, r.id, body))
			}
			for i, want := range tt.want {
				if n := <-got[i]; n != want {
					t.Errorf("call %d = %d, want %d", i, n, want)
				}
			}
			if tt.queued != 0 {
				m, err := h.Receive(ctx)
				if n, _ := m.Body.Int("n"); err != nil {
					t.Errorf("Receive: %v", err)
				} else if n != tt.queued {
					t.Errorf("Receive has n = %d, want %d", n, tt.queued)
				}
			}
		})
	}
}

// TestCallsTakeTurns checks that the second call waits for the reply to the first one.
func TestCallsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		h, d := pair(t, Options{}, Options{})
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}})
				results <- err
			}()
		}
		first, err := d.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.mu.Lock()
		n := len(d.queue)
		d.mu.Unlock()
		if n != 0 {
			t.Errorf("%d requests more before the first reply", n)
		}
		for m := first; ; m, err = d.Receive(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Reply(ctx, m, m.Body); err != nil {
				t.Fatal(err)
			}
			if m != first {
				break
			}
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		h.Close()
		d.Close()
	})
}

// TestCallGivenUp checks that the late reply to a call that timed out is dropped.
func TestCallGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		h, d := pair(t, Options{}, Options{})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := h.Call(short, xpc.Dict{{Key: "k", Value: int64(1)}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Call = %v, want a time-out", err)
		}
		first, err := d.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			second, err := d.Receive(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for _, m := range []*Message{first, second} {
				if err := d.Reply(ctx, m, m.Body); err != nil {
					t.Error(err)
				}
			}
		}()
		got, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: int64(2)}})
		if n, _ := got.Int("k"); err != nil {
			t.Errorf("Call: %v", err)
		} else if n != 2 {
			t.Errorf("n = %d in the reply, want 2, the second one", n)
		}
		h.Close()
		d.Close()
	})
}

// TestEnd covers the calls that wait when a connection ends.
func TestEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	t.Run("peer closes", func(t *testing.T) {
		t.Parallel()
		h, d := pair(t, Options{}, Options{})
		called := make(chan error, 1)
		go func() { _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); called <- err }()
		if _, err := d.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if err := d.Send(ctx, xpc.Dict{{Key: "last", Value: true}}); err != nil {
			t.Fatal(err)
		}
		d.Close()
		err := <-called
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Call = %v, want %v", err, net.ErrClosed)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Call = %v, want %v", err, io.ErrUnexpectedEOF)
		}
		if want := "remotexpc: call: connection closed by peer"; err.Error() != want {
			t.Errorf("Call = %q, want %q", err, want)
		}
		wantFields(t, h, 1)
		m, err := h.Receive(ctx)
		if m != nil {
			t.Errorf("Receive at the end returns %+v", m)
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("Receive at the end = %v, want %v", err, io.EOF)
		}
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Receive at the end = %v, want %v", err, net.ErrClosed)
		}
		<-h.Done()
		if err := h.Err(); !errors.Is(err, io.EOF) {
			t.Errorf("Err = %v", err)
		}
	})
	t.Run("own close", func(t *testing.T) {
		t.Parallel()
		h, _ := pair(t, Options{}, Options{})
		ended := make(chan error, 3)
		go func() { _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); ended <- err }()
		go func() { _, err := h.Receive(ctx); ended <- err }()
		go func() { _, err := h.ReceiveFile(ctx, 0, 1); ended <- err }()
		for range 2 {
			if err := h.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}
		for range 3 {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		if err := h.Send(ctx, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close = %v", err)
		}
	})
}

// TestEndInMessage checks that an end inside of a message is an error.
func TestEndInMessage(t *testing.T) {
	t.Parallel()
	p, h := handDevice(t, Options{}, 1<<20)
	p.headers(1)
	p.data(1, emptyBytes[:30])
	p.c.Close()
	m, err := h.Receive(context.Background())
	if m != nil {
		t.Errorf("Receive returns %+v", m)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Receive = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// TestContexts checks that every call ends with its context.
func TestContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, silent := handDevice(t, Options{}, 1<<20)
		big := xpc.Dict{{Key: "data", Value: make([]byte, 1000)}}
		for name, call := range map[string]func(context.Context) error{
			"Receive": func(ctx context.Context) error {
				_, err := silent.Receive(ctx)
				return err
			},
			"Call": func(ctx context.Context) error {
				_, err := silent.Call(ctx,
					big)
				return err
			},
			"ReceiveFile": func(ctx context.Context) error {
				_, err := silent.ReceiveFile(ctx, 0,
					5)
				return err
			},
			"ReceiveFileID": func(ctx context.Context) error {
				_, err := silent.ReceiveFileID(ctx,
					9, 5)
				return err
			},
			"Connect": func(ctx context.Context) error {
				a, _ := linktest.Pipe()
				_, err := Connect(ctx, a, Options{})
				return err
			},
			"Accept": func(ctx context.Context) error {
				a, b := linktest.Pipe()
				defer b.Close()
				_, err := Accept(ctx, a, Options{})
				return err
			},
			"Accept of a slow one": func(ctx context.Context) error {
				a, b := linktest.Pipe()
				defer b.Close()
				p := newPeer(t, b)
				p.preface()
				p.settings(0)
				p.headers(1)
				p.data(1, emptyBytes)
				_, err := Accept(ctx, a, Options{})
				return err
			},
			"Shutdown": func(ctx context.Context) error {
				_, other := handDevice(t, Options{},
					5)
				return other.Shutdown(ctx)
			},
		} {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := call(ctx)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s = %v, want %v", name, err, context.DeadlineExceeded)
			}
			if !strings.HasPrefix(err.Error(), "remotexpc: ") {
				t.Errorf("%s = %q, want the prefix remotexpc", name, err)
			}
			cancel()
			if err := call(ctx); err == nil {
				t.Errorf("%s succeeds with a context that is over", name)
			}
		}
		if err := silent.Err(); err != nil {
			t.Errorf("the connection ended with a call: %v", err)
		}
	})
}

// TestSendStuck ends the context of a message that was sent in part.
func TestSendStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, d := handHost(t, Options{}, 100)
		big := xpc.Dict{{Key: "data", Value: make([]byte, 1000)}}
		// Nothing can be sent after a part of a message, so the connection ends, too.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := d.Send(ctx, big); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send = %v, want a time-out", err)
		}
		err := d.Send(context.Background(), big)
		if !errors.Is(err, ErrCut) {
			t.Errorf("the next Send = %v, want %v", err, ErrCut)
		}
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("the next Send = %v, want %v", err, net.ErrClosed)
		}
	})
}
