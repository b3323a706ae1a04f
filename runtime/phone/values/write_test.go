package values_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/values"
)

const domainAccess = "com.apple.Accessibility"

// writes lists calls of SetValue with their results. A value that is kept reads as want.
var writes = []struct {
	profile, domain, key string
	in, want             any
	err                  error
	note                 string
}{
	{"", "", "DeviceName", "Blue", "Blue", nil, notifications.DeviceName},
	{"", "", "DeviceName", int64(3), nil, values.ErrType, ""},
	{"", "", "DeviceName", "", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", "Asia/Tokyo", "Asia/Tokyo", nil, notifications.TimeZone},
	{"", "", "TimeZone", "Mars/Olympus", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", "Local", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", "../../etc/passwd", nil, files.ErrInvalid, ""},
	{"", "", "TimeZone", true, nil, values.ErrType, ""},
	{"", "", "Uses24HourClock", false, false, nil, ""},
	{"", "", "Uses24HourClock", int64(1), nil, values.ErrType, ""},
	{"", "", "UntrustedHostBUID", "X", "X", nil, ""},
	{"", "", "SerialNumber", "X", nil, values.ErrImmutable, ""},
	{"", "", "Nope", "X", nil, values.ErrImmutable, ""},
	{"", "com.example.unknown", "Nope", "X", nil, values.ErrImmutable, ""},
	{"", values.DomainAMFI, "DeveloperModeStatus", false, nil, values.ErrImmutable, ""},
	{"", "", "TimeIntervalSince1970", 1e9, nil, values.ErrProhibited, ""},
	{"ios16", "", "TimeIntervalSince1970", "now", nil, values.ErrType, ""},
	{"ios16", "", "TimeIntervalSince1970", -1.0, nil, files.ErrInvalid, ""},
	{"", values.DomainInternational, "Language", "de", "de", nil, notifications.Language},
	{"", values.DomainInternational, "Language", []any{}, nil, values.ErrType, ""},
	{"", values.DomainInternational, "Locale", "de_DE", "de_DE", nil, ""},
	{"", values.DomainWireless, "EnableWifiConnections", false, false, nil, ""},
	{"", values.DomainWireless, "SupportsWifi", false, nil, values.ErrImmutable, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", true, int64(1), nil, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", uint64(1), int64(1), nil, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", int64(2), nil, files.ErrInvalid, ""},
	{"", domainAccess, "VoiceOverTouchEnabledByiTunes", "1", nil, values.ErrType, ""},
}

func TestSetValue(t *testing.T) {
	t.Parallel()
	for _, c := range writes {
		t.Run(fmt.Sprintf("%s %s %v", c.domain, c.key, c.in), func(t *testing.T) {
			t.Parallel()
			p := phonetest.New(t, phone.Options{Profile: c.profile})
			o := p.Notifications.Observe()
			defer o.Close()
			o.Add(notifications.DeviceName)
			o.Add(notifications.TimeZone)
			o.Add(notifications.Language)
			before, _ := p.Values.Get(c.domain, c.key)
			err := p.Values.Set(c.domain, c.key, c.in)
			if !errors.Is(err, c.err) {
				t.Fatalf("SetValue = %v, want %v", err, c.err)
			}
			after, _ := p.Values.Get(c.domain, c.key)
			if err != nil && c.key != "TimeIntervalSince1970" && !reflect.DeepEqual(before, after) {
				t.Errorf("a refused write changed %v to %v", before, after)
			}
			if err == nil && after != c.want {
				t.Errorf("value %v, want %v", after, c.want)
			}
			var want []string
			if c.note != "" {
				want = []string{c.note}
			}
			if got := phonetest.Heard(o); !slices.Equal(got, want) {
				t.Errorf("observers heard %v, want %v", got, want)
			}
		})
	}
}

func TestLanguageRestartsHomeScreen(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	before, _ := p.Processes.Named("SpringBoard")
	if err := p.Values.Set(values.DomainInternational, "Language", "ja"); err != nil {
		t.Fatal(err)
	}
	if after, ok := p.Processes.Named("SpringBoard"); !ok {
		t.Error("SpringBoard does not run")
	} else if after.PID == before.PID {
		t.Errorf("SpringBoard has the same PID %d", after.PID)
	}
}

func TestSetClock(t *testing.T) {
	t.Parallel()
	base := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, v := range []any{1.7e9, int64(1_700_000_000), uint64(1_700_000_000)} {
		p := phonetest.New(
			t,
			phone.Options{Profile: "ios16", Clock: func() time.Time { return base }},
		)
		up := p.Clock.MachTime()
		if err := p.Values.Set("", "TimeIntervalSince1970", v); err != nil {
			t.Fatalf("set %v: %v", v, err)
		}
		if got := phonetest.Value(t, p, "", "TimeIntervalSince1970"); got != 1.7e9 {
			t.Errorf("set %T: clock %v", v, got)
		}
		if now := p.Clock.MachTime(); now != up {
			t.Errorf("setting the clock changed the time since boot from %d to %d", up, now)
		}
	}
}

func TestTimeZoneOffset(t *testing.T) {
	t.Parallel()
	p := phonetest.New(
		t,
		phone.Options{
			Clock: func() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) },
		},
	)
	for zone, want := range map[string]float64{
		"Europe/Berlin": 3600, "Asia/Kolkata": 19800, "America/New_York": -18000,
	} {
		if err := p.Values.Set("", "TimeZone", zone); err != nil {
			t.Fatal(err)
		}
		if got := phonetest.Value(t, p, "", "TimeZoneOffsetFromUTC"); got != want {
			t.Errorf("%s: offset %v, want %v", zone, got, want)
		}
	}
}

func TestRemoveValue(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	if err := p.Values.Set("", "UntrustedHostBUID", "X"); err != nil {
		t.Fatal(err)
	}
	if err := p.Values.Remove("", "UntrustedHostBUID"); err != nil {
		t.Fatal(err)
	}
	if v, ok := p.Values.Get("", "UntrustedHostBUID"); ok {
		t.Errorf("removed value is %v", v)
	}
	if err := p.Values.Remove("", "SerialNumber"); !errors.Is(err, values.ErrImmutable) {
		t.Errorf("RemoveValue(SerialNumber) = %v, want ErrImmutable", err)
	}
	err := p.Values.Remove("", "TimeIntervalSince1970")
	if !errors.Is(err, values.ErrProhibited) {
		t.Errorf("RemoveValue(TimeIntervalSince1970) = %v, want ErrProhibited", err)
	}
	var e *failure.Error
	if !errors.As(err, &e) {
		t.Fatalf("RemoveValue(TimeIntervalSince1970) = %#v, want a *failure.Error", err)
	}
	const text = `phone: remove value "TimeIntervalSince1970": setting is prohibited`
	if e.Error() != text {
		t.Errorf("RemoveValue(TimeIntervalSince1970) = %v, want %s", e, text)
	}
}
