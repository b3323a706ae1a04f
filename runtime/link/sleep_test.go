package link

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := Sleep(t.Context(), time.Hour); err != nil {
			t.Errorf("Sleep: %v", err)
		}
		if took := time.Since(begin); took != time.Hour {
			t.Errorf("it took %v, want an hour", took)
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(gone) })
		if err := Sleep(ctx, time.Hour); err != gone {
			t.Errorf("Sleep until the context ends: %v, want %v", err, gone)
		}
		if took := time.Since(begin); took != time.Hour+time.Minute {
			t.Errorf("it took %v more, want a minute", took-time.Hour)
		}
		if err := Sleep(ctx, 0); err != gone {
			t.Errorf("Sleep after the end of the context: %v, want %v", err, gone)
		}
	})
}
