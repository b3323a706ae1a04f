package dvt

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// TestFaults lets a channel close or leave a call unanswered. The call ends, and the
// session and its other channels stay usable.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault Fault
		want  error
	}{{KillChannel, dtx.ErrChannelClosed}, {NeverAnswer, context.DeadlineExceeded}} {
		synctest.Test(t, func(t *testing.T) {
			p := phonetest.New(t, phone.Options{})
			var healed atomic.Bool
			d := &Device{Phone: p, Fault: func(identifier, _ string) Fault {
				if identifier == ChannelLocation && !healed.Load() {
					return c.fault
				}
				return NoFault
			}}
			s := connectTo(t, d, Options{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := s.SetLocation(ctx, 1, 2); !errors.Is(err, c.want) {
				t.Errorf("fault %d: SetLocation = %v, want %v", c.fault, err, c.want)
			}
			if _, err := s.Screenshot(t.Context()); err != nil {
				t.Errorf("fault %d: another channel: %v", c.fault, err)
			}
			healed.Store(true)
			if c.fault == KillChannel {
				if err := s.SetLocation(t.Context(), 1, 2); err != nil {
					t.Errorf("the channel opened again: %v", err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
