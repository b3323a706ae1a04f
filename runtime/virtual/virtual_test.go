package virtual_test

import (
	"context"
	"errors"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

func TestEveryProfileAnswers(t *testing.T) {
	for _, profile := range identity.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			d, m := virtualtest.Device(t, virtual.Options{Phone: phone.Options{Profile: profile}})
			ctx := virtualtest.Context(t)
			v, err := d.Get(ctx, "", "ProductVersion")
			if err != nil {
				t.Fatalf("ProductVersion: %v", err)
			}
			if v != m.Phone().Identity.Version {
				t.Fatalf("ProductVersion = %v, want %s", v, m.Phone().Identity.Version)
			}
			for _, name := range m.Services() {
				c, err := d.Open(ctx, service.Name{Lockdown: name})
				if err != nil {
					t.Errorf("Open(%s): %v", name, err)
					continue
				}
				c.Close()
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{})
	open := func(name string) error {
		c, err := d.Open(ctx, service.Name{Lockdown: name})
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := open("com.apple.nonsense"); !errors.Is(err, lockdown.ErrInvalidService) {
		t.Errorf("unknown service: %v, want InvalidService", err)
	}
	m.Phone().Screen.SetPasscode(true)
	m.Phone().Screen.Lock()
	if err := open("com.apple.afc"); !errors.Is(err, lockdown.ErrPasswordProtected) {
		t.Errorf("afc while locked: %v, want PasswordProtected", err)
	}
	c, err := d.Open(ctx, service.Name{Lockdown: "com.apple.afc", Escrow: true})
	if err != nil {
		t.Errorf("afc while locked, with escrow bag: %v", err)
	} else {
		c.Close()
	}
	m.Phone().Screen.Unlock()
	if err := open("com.apple.afc"); err != nil {
		t.Errorf("afc after unlocking: %v", err)
	}
	if _, err := d.Connect(ctx, 9); err == nil {
		t.Error("a closed port was connected to")
	}
}

// TestDeveloperServices checks when services of the developer image are refused, and that
// the error says what is missing.
func TestDeveloperServices(t *testing.T) {
	for _, profile := range identity.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := virtualtest.Device(t, virtual.Options{Phone: phone.Options{Profile: profile}})
			tap := func() error {
				s, err := dvt.Connect(ctx, d, dvt.Options{})
				if err != nil {
					return err
				}
				defer s.Close()
				_, err = s.Screenshot(ctx)
				return err
			}
			if err := tap(); err != nil {
				t.Fatal(err)
			}
			m.Phone().Values.SetDeveloperMode(false)
			err := tap()
			if !errors.Is(err, device.ErrDeveloperMode) {
				t.Errorf("without developer mode: %v, want ErrDeveloperMode", err)
			}
			if errors.Is(err, device.ErrNoImage) {
				t.Errorf("without developer mode: %v is ErrNoImage too", err)
			}
			m.Phone().Values.SetDeveloperMode(true)
			m.Phone().Image.Unmount()
			if err := tap(); !errors.Is(err, device.ErrNoImage) {
				t.Errorf("without the image: %v, want ErrNoImage", err)
			}
			m.Phone().Image.Mount()
			if err := tap(); err != nil {
				t.Errorf("with the image again: %v", err)
			}
		})
	}
}

func TestTrustPolicies(t *testing.T) {
	for _, c := range []struct {
		mode trust.Mode
		want error
	}{
		{trust.Accept, nil},
		{trust.Deny, lockdown.ErrUserDeniedPairing},
	} {
		d, _ := virtualtest.Device(t,
			virtual.Options{Phone: phone.Options{Trust: trust.Policy{Mode: c.mode}}})
		if err := d.Pair(virtualtest.Context(t)); !errors.Is(err, c.want) {
			t.Errorf("mode %v: Pair = %v, want %v", c.mode, err, c.want)
		}
	}
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
		Phone: phone.Options{Trust: trust.Policy{Mode: trust.Ask}},
	}})
	m := h.Devices()[0]
	f := virtualtest.Finder(t, h,
		device.Options{OnTrustDialog: func(device.Info) { m.Phone().Trust.TapTrust() }})
	d, err := f.Find(virtualtest.Context(t), device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Pair(virtualtest.Context(t)); err != nil {
		t.Errorf("Pair with a tap on Trust: %v", err)
	}
	if err := d.Unpair(virtualtest.Context(t)); err != nil {
		t.Errorf("Unpair: %v", err)
	}
	ok, err := d.Paired(virtualtest.Context(t))
	if ok {
		t.Error("Paired after Unpair = true")
	}
	if err != nil {
		t.Errorf("Paired after Unpair: %v", err)
	}
}

// TestNeverAnswered checks that pairing ends by its deadline, with the reason, if the user
// does not answer the dialog.
func TestNeverAnswered(t *testing.T) {
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
		Phone: phone.Options{Trust: trust.Policy{Mode: trust.Ignore}},
	}})
	ctx, cancel := context.WithCancelCause(context.Background())
	f := virtualtest.Finder(t, h,
		device.Options{OnTrustDialog: func(device.Info) { cancel(context.DeadlineExceeded) }})
	d, err := f.Find(virtualtest.Context(t), device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Pair(ctx)
	if !errors.Is(err, lockdown.ErrPairingDialogResponsePending) {
		t.Errorf("Pair: %v, want the pending dialog", err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Pair: %v, want DeadlineExceeded", err)
	}
}

// TestInsecureNotifications checks the variant for hosts that are not paired. It relays
// names of lockdown and no others.
func TestInsecureNotifications(t *testing.T) {
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{})
	n, err := notificationproxy.ConnectInsecure(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	const passes = "com.apple.mobile.lockdown.request_pair"
	if err := n.Observe(ctx, "com.example.private", passes); err != nil {
		t.Fatal(err)
	}
	if err := n.Post(ctx, passes); err != nil { // shows that Observe was read
		t.Fatal(err)
	}
	wantNext(t, n, passes)
	m.Phone().Notifications.Post("com.example.private")
	m.Phone().Notifications.Post(passes)
	wantNext(t, n, passes) // the private name does not pass
}

// wantNext checks the name of the next notification.
func wantNext(t *testing.T, n *notificationproxy.Client, want string) {
	t.Helper()
	got, err := n.Next(virtualtest.Context(t))
	if err != nil {
		t.Fatalf("Next: %v, want %s", err, want)
	}
	if got != want {
		t.Errorf("Next = %s, want %s", got, want)
	}
}

func TestWhatOneServiceWritesAnotherReads(t *testing.T) {
	ctx := virtualtest.Context(t)
	d, _ := virtualtest.Device(t, virtual.Options{})
	n, err := notificationproxy.Connect(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	const changed = "com.apple.mobile.lockdown.device_name_changed"
	if err := n.Observe(ctx, changed); err != nil {
		t.Fatal(err)
	}
	if err := n.Post(ctx, changed); err != nil { // shows that Observe was read
		t.Fatal(err)
	}
	if _, err := n.Next(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Set(ctx, "", "DeviceName", "Renamed"); err != nil {
		t.Fatal(err)
	}
	wantNext(t, n, changed)
	if err := d.Refresh(ctx); err != nil {
		t.Errorf("Refresh: %v", err)
	}
	if got := d.Info().Name; got != "Renamed" {
		t.Errorf("the name after Refresh is %q, want Renamed", got)
	}
}

func TestRestart(t *testing.T) {
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{Boot: 1})
	before, boot := d.Info().Routes[0].DeviceID, m.Phone().Clock.BootID()
	c, err := diagnosticsrelay.Connect(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(ctx, diagnosticsrelay.PowerOptions{WaitForDisconnect: true}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := d.Back(ctx); err != nil {
		t.Fatal(err)
	}
	now := d.Info().Routes[0].DeviceID
	if now == before {
		t.Errorf("the device id %d is the same as before", now)
	}
	if m.Phone().Clock.BootID() == boot {
		t.Error("the boot id is the same as before")
	}
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Errorf("value after restart: %v", err)
	}
}

func TestReplugIsFoundAgain(t *testing.T) {
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{})
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Fatal(err)
	}
	m.Detach()
	if _, err := d.Get(ctx, "", "DeviceName"); err == nil {
		t.Fatal("an unplugged device answered")
	}
	if err := m.Replug(); err != nil {
		t.Fatal(err)
	}
	if v, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Errorf("after re-plug: %v, %v", v, err)
	}
}

func TestSeveralDevicesAreAnError(t *testing.T) {
	h := virtualtest.Host(t, virtual.HostOptions{Count: 3})
	f := virtualtest.Finder(t, h, device.Options{})
	ctx := virtualtest.Context(t)
	_, err := f.Find(ctx, device.Selector{})
	var ambiguous *device.AmbiguousError
	if !errors.As(err, &ambiguous) {
		t.Fatalf("Find: %v, want an *AmbiguousError", err)
	}
	if len(ambiguous.Matches) != 3 {
		t.Fatalf("Find: %d matches, want 3", len(ambiguous.Matches))
	}
	want := h.Devices()[1].UDID()
	d, err := f.Find(ctx, device.Selector{UDID: want})
	if err != nil {
		t.Fatalf("Find by UDID: %v", err)
	}
	if d.UDID() != want {
		t.Errorf("Find by UDID = %s, want %s", d.UDID(), want)
	}
	if _, err := f.Find(ctx, device.Selector{UDID: "no"}); !errors.Is(err, device.ErrNotFound) {
		t.Errorf("Find of nothing = %v", err)
	}
}
