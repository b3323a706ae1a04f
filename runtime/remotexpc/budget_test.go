package remotexpc

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestNobodyReceives uses devices that send messages to a host that only makes calls.
// The connection must stay open, calls must be answered, and a late receiver must get
// the newest messages.
func TestNobodyReceives(t *testing.T) {
	t.Parallel()
	for name, alone := range map[string]bool{"from the beginning": true, "any more": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				h, d := pair(t, Options{Window: 10_000, Alone: alone}, Options{})
				go echo(ctx, d)
				if !alone {
					h.Receiving(false)
				}
				const count = 5000
				for n := range count { // keeps to the windows, and is not held up
					body := xpc.Dict{
						{Key: "n", Value: int64(n)},
						{Key: "data", Value: make([]byte, 500)},
					}
					if err := d.Send(ctx, body); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got, want := h.Dropped(), uint64(count-aloneMessages); got != want {
					t.Errorf("%d dropped, want %d", got, want)
				}
				for want := count - aloneMessages; want < count; want++ {
					m, err := h.Receive(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if n, _ := m.Body.Int("n"); n != int64(want) {
						t.Fatalf("message %d, want %d", n, want)
					}
				}
			})
		})
	}
}

// TestAloneBytes checks that one large message, and no second one, is kept while none
// are received.
func TestAloneBytes(t *testing.T) {
	t.Parallel()
	p, h := handDevice(t, Options{Alone: true}, 1<<20)
	p.headers(1)
	large := message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "data", Value: make([]byte, 3<<20)}})
	for range 20 {
		for rest := large; len(rest) > 0; {
			n := min(len(rest), frameSize)
			p.data(1, rest[:n])
			rest = rest[n:]
		}
	}
	p.pong()
	h.mu.Lock()
	queued, buffered := len(h.queue), h.buffered
	h.mu.Unlock()
	if queued != 1 {
		t.Errorf("%d messages are kept, want 1", queued)
	}
	if buffered > 4<<20 {
		t.Errorf("%d bytes are kept, want at most %d", buffered, 4<<20)
	}
	wantFields(t, h, 1)
}

// TestEarlyMessage declares a long message before the connection is open.
func TestEarlyMessage(t *testing.T) {
	t.Parallel()
	a, b := linktest.Pipe()
	p := newPeer(t, a)
	failed := make(chan error, 1)
	go func() { _, err := Accept(context.Background(), b, Options{}); failed <- err }()
	p.preface()
	p.settings(1 << 20)
	p.headers(1)
	p.data(1, declared(2<<20))
	if err := <-failed; !errors.Is(err, ErrProtocol) {
		t.Errorf("Accept = %v, want %v", err, ErrProtocol)
	}
}

// declared returns the beginning of a message that states a body of n bytes.
func declared(n int) []byte {
	b := append([]byte(nil), openedBytes...)
	binary.LittleEndian.PutUint64(b[8:], uint64(n))
	return b
}

// TestBudget has hosts that send as much as they can to a device that does not receive.
// Together they must use no more memory than the budget, and all of it must be
// returned.
func TestBudget(t *testing.T) {
	const limit = 8 << 20
	half := message(xpc.FlagsOneWay, 1, xpc.Dict{{Key: "data", Value: make([]byte, 1<<20)}})
	for name, flood := range map[string]func(p *peer, piece []byte) error{
		"unfinished messages": func(p *peer, piece []byte) error {
			if err := p.fr.WriteData(1, false, declared(60<<20)); err != nil {
				return err
			}
			for range 60 << 20 / len(piece) {
				if err := p.fr.WriteData(1, false, piece); err != nil {
					return err
				}
			}
			return nil
		},
		"whole messages": func(p *peer, piece []byte) error {
			for range 50 {
				for rest := half; len(rest) > 0; {
					n := min(len(rest), frameSize)
					if err := p.fr.WriteData(1, false, rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
			}
			return nil
		},
		"files": func(p *peer, piece []byte) error {
			for id := uint32(firstUpload); id < firstUpload+120; id += 2 {
				if err := p.fr.WriteRawFrame(http2.FrameHeaders, 4, id, nil); err != nil {
					return err
				}
				if err := p.fr.WriteData(id, false, request); err != nil {
					return err
				}
				for range 30 { // within the window
					if err := p.fr.WriteData(id, false, piece); err != nil {
						return err
					}
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			budget := link.NewBudget(limit)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var wg sync.WaitGroup
			peers, conns := make([]*peer, 6), make([]*Conn, 6)
			for i := range peers {
				peers[i], conns[i] = handHost(t, Options{Budget: budget}, 1<<20)
			}
			for _, p := range peers {
				go func() { // takes the answers, so that it is not for them
					for {
						if _, err := p.fr.ReadFrame(); err != nil {
							return
						}
					}
				}()
				wg.Go(func() { _ = flood(p, make([]byte, frameSize)) })
			}
			wg.Wait()
			most := budget.Used()
			for _, d := range conns {
				<-d.Done()
				if err := d.Err(); !errors.Is(err, ErrOverflow) {
					t.Errorf("Err = %v, want %v", err, ErrOverflow)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if most > limit {
				t.Errorf("%d bytes of a budget of %d", most, limit)
			}
			if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); n > 4*limit {
				t.Errorf("the heap grew by %d bytes", n)
			}
			for _, d := range conns {
				d.Close()
			}
			if n := budget.Used(); n != 0 {
				t.Errorf("%d bytes are not given back", n)
			}
		})
	}
}
