package link

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdle has a peer that sends a byte now and then, and a slow consumer.
func TestIdle(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		limit time.Duration
		first time.Duration // until the first byte
		pause time.Duration // between two bytes
		slow  time.Duration // of the consumer
		want  time.Duration // of the silence, 0 if all is received
	}{
		{"in time", time.Second, 900 * time.Millisecond, 900 * time.Millisecond, 0, 0},
		{"slow consumer", time.Second, 0, 0, time.Minute, 0},
		{"silent from the beginning", time.Second, 2 * time.Second, 0, 0, time.Second},
		{"silent later", time.Second, 0, 2 * time.Second, 0, time.Second},
		{"default", 0, 0, time.Minute, 0, DefaultIdle},
		{"no limit", -1, time.Hour, time.Hour, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe()
				var wg sync.WaitGroup
				defer wg.Wait()
				defer b.Close()
				defer a.Close()
				wg.Go(func() {
					time.Sleep(test.first)
					for range 3 {
						_, _ = b.Write([]byte("x"))
						time.Sleep(test.pause)
					}
					_ = CloseWrite(b)
				})
				ctx, in, stop := Idle(context.Background(), a, test.limit)
				defer stop()
				release := GuardRead(ctx, a)
				var err error
				for buf := make([]byte, 1); err == nil; time.Sleep(test.slow) {
					_, err = in.Read(buf)
				}
				err = release(err)
				var silent *SilentError
				switch {
				case test.want == 0 && err != io.EOF:
					t.Errorf("the transfer ended with %v, want its end", err)
				case test.want > 0 && (!errors.As(err, &silent) || silent.For != test.want):
					t.Errorf("the transfer ended with %v, want silence of %v", err, test.want)
				}
			})
		})
	}
}
