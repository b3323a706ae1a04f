package coredevice

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone"
)

func (r *rig) info() *Info {
	r.t.Helper()
	c, err := ConnectInfo(r.t.Context(), r)
	r.check(err)
	r.t.Cleanup(func() { closeTwice(r.t, c.Conn) })
	return c
}

func TestAttributes(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		got, err := r.info().Attributes(t.Context())
		r.check(err)
		value := func(key string) any { v, _ := r.phone.Values.Get("", key); return v }
		for name, pair := range map[string][2]any{
			"name": {
				got.Name, r.phone.Values.Name(),
			}, "version": {got.OSVersion, "17.5.1"}, "build": {got.Build, value("BuildVersion")},
			"type": {got.ProductType, value("ProductType")}, "hardware": {
				got.HardwareModel, value("HardwareModel"),
			}, "class": {got.DeviceType, value("DeviceClass")},
			"udid":      {got.UDID, value("UniqueDeviceID")},
			"serial":    {got.SerialNumber, value("SerialNumber")},
			"cpu":       {got.CPU, value("CPUArchitecture")},
			"marketing": {got.MarketingName, "iPhone 14 Pro"}, "boot": {got.BootState, "booted"},
			"mode": {got.DeveloperMode, r.phone.Values.DeveloperMode()},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
			}
		}
		if got.ECID == 0 {
			t.Error("ECID is 0")
		}
		if got.Capacity < 1e11 {
			t.Errorf("capacity %d, want at least 1e11", got.Capacity)
		}
		r.phone.Values.SetDeveloperMode(!got.DeveloperMode)
		again, err := r.info().Attributes(t.Context())
		if err != nil {
			t.Fatalf("Attributes again: %v", err)
		}
		if again.DeveloperMode == got.DeveloperMode {
			t.Errorf("developer mode %v did not change", again.DeveloperMode)
		}
	})
}

func TestDisplays(t *testing.T) {
	bubble(t, "ios18", func(t *testing.T, r *rig) {
		c := r.info()
		d, err := c.Displays(t.Context())
		r.check(err)
		width, height := r.phone.Screen.Size()
		if len(d.List) != 1 {
			t.Fatalf("displays %+v, want one", d.List)
		}
		if d.Backlight != "activeOn" {
			t.Errorf("backlight %q, want activeOn", d.Backlight)
		}
		if d.Orientation != "portrait" {
			t.Errorf("orientation %q, want portrait", d.Orientation)
		}
		if d.Fixed {
			t.Error("the orientation is locked")
		}
		s := d.List[0]
		if s.Width != float64(width) || s.Height != float64(height) {
			t.Errorf("size %vx%v, want %dx%d", s.Width, s.Height, width, height)
		}
		if s.ModeWidth != s.Width || s.ModeHeight != s.Height {
			t.Errorf("mode %vx%v, want %vx%v", s.ModeWidth, s.ModeHeight, s.Width, s.Height)
		}
		if s.Scale != 3 {
			t.Errorf("scale %v, want 3", s.Scale)
		}
		if !s.Primary {
			t.Errorf("display %+v is not the primary one", s)
		}
		if s.ID != 1 {
			t.Errorf("display %d, want 1", s.ID)
		}
		if s.Name != "LCD" {
			t.Errorf("display %q, want LCD", s.Name)
		}
		if s.UniqueID == "" {
			t.Error("the display has no unique identifier")
		}
		bounds, _ := s.Raw.Array(keyBounds)
		if len(bounds) != 2 {
			t.Errorf("bounds %v", bounds)
		}
		r.phone.Screen.Lock()
		d, err = c.Displays(t.Context())
		if err != nil {
			t.Fatalf("a locked phone's displays: %v", err)
		}
		if d.Backlight != "off" {
			t.Errorf("a locked phone's backlight is %q", d.Backlight)
		}
	})
}

func TestLockState(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		c := r.info()
		check := func(required, since bool) {
			t.Helper()
			s, err := c.LockState(t.Context())
			if err != nil {
				t.Errorf("LockState: %v", err)
				return
			}
			if s.PasscodeRequired != required {
				t.Errorf("passcode required: %v, want %v", s.PasscodeRequired, required)
			}
			if s.UnlockedSinceBoot != since {
				t.Errorf("unlocked since boot: %v, want %v", s.UnlockedSinceBoot, since)
			}
		}
		check(false, true)
		r.phone.Screen.SetPasscode(true)
		r.phone.Screen.Lock()
		check(true, true)
		r.phone.Boot()
		check(true, false)
		r.phone.Screen.Unlock()
		check(false, true)
	})
}

// TestGestalt uses a phone that answers the request. Most devices that have the service
// refuse it.
func TestGestalt(t *testing.T) {
	bubble(t, "ios16", func(t *testing.T, r *rig) {
		c := r.info()
		d, err := c.Gestalt(t.Context(), "ProductType", "DiskUsage", "SupportedDeviceFamilies",
			"main-screen-scale", "nothing")
		r.check(err)
		s, _ := d.String("ProductType")
		if s != r.phone.Identity.ProductType {
			t.Errorf("ProductType = %q, want %q", s, r.phone.Identity.ProductType)
		}
		if len(d) != 4 {
			t.Errorf("Gestalt = %v, want 4 keys", d)
		}
		if n, _ := d.Path("DiskUsage", "TotalDiskCapacity"); n == nil {
			t.Errorf("Gestalt = %v", d)
		}
		d, err = c.Gestalt(t.Context())
		if err != nil {
			t.Errorf("Gestalt of nothing: %v", err)
		}
		if len(d) != 0 {
			t.Errorf("Gestalt of nothing = %v", d)
		}
		// Every existing value can be encoded.
		for key, v := range r.phone.Diagnostics.Gestalt(nil) {
			if _, err := encodePlist(v); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		if _, err := encodePlist([]any{struct{}{}}); err == nil {
			t.Error("a struct has a form")
		}
	})
	p, err := phone.New(phone.Options{Profile: "ios17"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gestalt(t.Context(), &session{phone: p},
		newInput(xpc.Dict{{Key: keyKeys, Value: []any{"ProductType"}}}))
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("gestalt = %v", err)
	}
}
