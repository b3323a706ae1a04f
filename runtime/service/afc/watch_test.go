package afc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// trickle holds the answers of a device to a pull of "abc". The device sends one byte
// every 20 seconds.
var trickle = packet(1, opData, "", "st_size\x003\x00st_ifmt\x00S_IFREG\x00") +
	packet(2, opOpenResult, u64(1), "") + packet(3, opData, "", "abc")

// TestIdle checks that each byte restarts the clock of a transfer. Answers to later
// calls of others do not, because the device then ignores the transfer.
func TestIdle(t *testing.T) {
	t.Parallel()
	for _, busy := range []bool{false, true} {
		name := "alone"
		if busy {
			name = "others are answered"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testIdle(t, busy) })
		})
	}
}

func testIdle(t *testing.T, busy bool) {
	a, b := linktest.Prompt()
	c := New(a)
	took := time.Duration(len(trickle)) * 20 * time.Second
	ctx, cancel := context.WithCancel(context.Background())
	var others atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, b) })
	wg.Go(func() {
		for i := range len(trickle) {
			time.Sleep(20 * time.Second)
			_, _ = io.WriteString(b, trickle[i:i+1])
		}
		if busy {
			answerLast(c, b)
		}
	})
	if busy {
		wg.Go(func() {
			time.Sleep(took + time.Second) // after the last request of the pull
			for c.Mkdir(ctx, "/x") == nil {
				others.Add(1)
			}
		})
	}
	begun := time.Now()
	_, err := c.Pull(context.Background(), "/a", io.Discard, Transfer{InFlight: 2})
	var silent *link.SilentError
	if !errors.As(err, &silent) {
		t.Errorf("Pull: %#v is not a %T", err, silent)
	} else if silent.For != 30*time.Second {
		t.Errorf("Pull: silence of %v, want 30s", silent.For)
	}
	if n := others.Load(); (n > 1) != busy {
		t.Errorf("%d calls of others were answered", n)
	}
	if got := time.Since(begun); got != took+30*time.Second {
		t.Errorf("ended after %v, want %v", got, took+30*time.Second)
	}
	late, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := c.Mkdir(late, "/y"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a call after the silence: %v, want the end of the connection", err)
	}
	cancel()
	c.Close()
	b.Close()
	wg.Wait()
}

// answerLast answers the newest request every 10 seconds until the connection ends.
func answerLast(c *Client, b net.Conn) {
	for {
		time.Sleep(10 * time.Second)
		c.mu.Lock()
		n, over := c.packet, c.ended != nil
		c.mu.Unlock()
		if over {
			return
		}
		_, _ = io.WriteString(b, packet(n, opStatus, u64(0), ""))
	}
}

// TestIdleElsewhere checks that the time that a slow reader of the data takes does not
// count.
func TestIdleElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Prompt()
		f := newFS()
		must(t, f.WriteFile("/a", noise(9000)))
		var wg sync.WaitGroup
		wg.Go(func() { _ = (&Device{FS: f, Model: "m"}).Serve(context.Background(), b) })
		c := New(a)
		o := Transfer{Piece: 1000, Idle: time.Second}
		n, err := c.Pull(context.Background(), "/a", slowly{}, o)
		if err != nil {
			t.Errorf("Pull: %v", err)
		} else if n != 9000 {
			t.Errorf("Pull = %v, want 9000", n)
		}
		c.Close()
		wg.Wait()
	})
}

type slowly struct{}

func (slowly) Write(p []byte) (int, error) { time.Sleep(time.Minute); return len(p), nil }
