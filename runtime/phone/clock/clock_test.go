package clock_test

import (
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)
	p := phonetest.New(t, phone.Options{Clock: func() time.Time { return at }})
	if !p.Clock.Now().Equal(at) {
		t.Errorf("Now = %v, want %v", p.Clock.Now(), at)
	}
	if v := phonetest.Value(t, p, "", "TimeZoneOffsetFromUTC"); v != 7200.0 {
		t.Errorf("offset in July = %v, want 7200 as real", v)
	}
}
