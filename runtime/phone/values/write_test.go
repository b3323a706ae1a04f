package values_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
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

// TestLanguageRestartsHomeScreen sets the locale and the language, as hosts do. The home screen
// goes after that, comes back once, and says so when it is back.
func TestLanguageRestartsHomeScreen(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{{"Locale", "Language"}, {"Language"}, {"Locale"}} {
		synctest.Test(t, func(t *testing.T) {
			p := phonetest.New(t, phone.Options{})
			before, _ := p.Processes.Named("SpringBoard")
			for _, key := range keys {
				if err := p.Values.Set(values.DomainInternational, key, "ja"); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if now, _ := p.Processes.Named("SpringBoard"); now.PID != before.PID {
				t.Errorf("%v: SpringBoard has gone before the answer", keys)
			}
			o := p.Notifications.Observe() // a host that begins to wait after the answer
			defer o.Close()
			o.Add(notifications.Startup)
			gone := false
			for len(phonetest.Heard(o)) == 0 {
				_, runs := p.Processes.Named("SpringBoard")
				gone = gone || !runs
				time.Sleep(100 * time.Millisecond)
				if p.Clock.Now().Sub(before.Started) > 1000*time.Hour {
					t.Fatalf("%v: the home screen does not come back", keys)
				}
			}
			if !gone {
				t.Errorf("%v: SpringBoard ran all the time", keys)
			}
			if after, ok := p.Processes.Named("SpringBoard"); !ok {
				t.Errorf("%v: SpringBoard does not run", keys)
			} else if after.PID == before.PID {
				t.Errorf("%v: SpringBoard has the same PID %d", keys, after.PID)
			}
			time.Sleep(time.Hour)
			if more := phonetest.Heard(o); len(more) > 0 {
				t.Errorf("%v: the home screen started again: %v", keys, more)
			}
		})
	}
}

// TestBootDuringRestartOfHomeScreen boots a phone whose home screen is away. It starts once.
func TestBootDuringRestartOfHomeScreen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		o := p.Notifications.Observe()
		defer o.Close()
		o.Add(notifications.Startup)
		if err := p.Values.Set(values.DomainInternational, "Language", "ja"); err != nil {
			t.Fatal(err)
		}
		for runs := true; runs; _, runs = p.Processes.Named("SpringBoard") {
			time.Sleep(100 * time.Millisecond)
		}
		p.Boot()
		time.Sleep(time.Hour)
		want := []string{notifications.Startup}
		if got := phonetest.Heard(o); !slices.Equal(got, want) {
			t.Errorf("heard %v, want %v", got, want)
		}
	})
}

// TestWifiConnections checks who hears that connections over Wi-Fi were switched.
func TestWifiConnections(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	var heard []bool
	p.Values.OnWifiConnections(func() { heard = append(heard, p.Values.WifiConnections()) })
	const key = "EnableWifiConnections"
	if !p.Values.WifiConnections() {
		t.Error("connections over Wi-Fi are off on a new phone")
	}
	if err := p.Values.Set(values.DomainWireless, key, false); err != nil {
		t.Fatal(err)
	}
	if err := p.Values.Remove(values.DomainWireless, key); err != nil {
		t.Fatal(err)
	}
	if want := []bool{false, true}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
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
