package device

import (
	"context"
	"errors"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/lockdown"
)

// Get returns one lockdown value; "" is the default domain. If the device does not have
// the key, the error matches lockdown.ErrMissingValue.
func (d *Device) Get(ctx context.Context, domain, key string) (v any, err error) {
	err = d.read(ctx, "get value", func(ctx context.Context, c *lockdown.Client) error {
		v, err = c.Get(ctx, domain, key)
		return err
	})
	return v, err
}

// Domain returns all values of a lockdown domain; "" is the default domain.
func (d *Device) Domain(ctx context.Context, domain string) (v plist.Dict, err error) {
	err = d.read(ctx, "get domain", func(ctx context.Context, c *lockdown.Client) error {
		v, err = c.Domain(ctx, domain)
		return err
	})
	return v, err
}

// Set writes one lockdown value.
func (d *Device) Set(ctx context.Context, domain, key string, v any) error {
	return d.call(ctx, "set value",
		func(ctx context.Context, s *session) error { return s.Set(ctx, domain, key, v) })
}

// Remove deletes one lockdown value.
func (d *Device) Remove(ctx context.Context, domain, key string) error {
	return d.call(ctx, "remove value",
		func(ctx context.Context, s *session) error { return s.Remove(ctx, domain, key) })
}

// EnterRecovery restarts the device into recovery mode.
func (d *Device) EnterRecovery(ctx context.Context) error {
	return d.call(ctx, "enter recovery",
		func(ctx context.Context, s *session) error { return s.EnterRecovery(ctx) })
}

func (d *Device) call(
	ctx context.Context, op string, fn func(context.Context, *session) error,
) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	err := d.withSession(ctx, func(s *session) error { return fn(ctx, s) })
	if err != nil {
		return d.fail(op, "lockdown", err)
	}
	return nil
}

// read runs fn with the shared session. If this host is not paired and must not pair, it
// runs fn without a session.
func (d *Device) read(
	ctx context.Context, op string, fn func(context.Context, *lockdown.Client) error,
) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	err := d.withSession(ctx, func(s *session) error { return fn(ctx, s.Client) })
	if d.finder.opts.NoPair && unpaired(err) {
		err = d.withoutSession(ctx, fn)
	}
	return d.fail(op, "lockdown", err)
}

// withoutSession runs fn with a lockdown connection of its own that has no session.
func (d *Device) withoutSession(
	ctx context.Context, fn func(context.Context, *lockdown.Client) error,
) error {
	c, err := d.plain(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(ctx, c)
}

// Public returns the values that can be read without pairing.
func (d *Device) Public(ctx context.Context) (v plist.Dict, err error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	err = d.withoutSession(ctx, func(ctx context.Context, c *lockdown.Client) error {
		v, err = c.Domain(ctx, "")
		return err
	})
	if err != nil {
		return nil, d.fail("get public values", "lockdown", err)
	}
	return v, nil
}

const (
	wirelessDomain  = "com.apple.mobile.wireless_lockdown"
	wirelessEnabled = "EnableWifiConnections"
)

// WiFiConnections reports whether lockdown can be reached over Wi-Fi.
func (d *Device) WiFiConnections(ctx context.Context) (bool, error) {
	v, err := d.Get(ctx, wirelessDomain, wirelessEnabled)
	if errors.Is(err, lockdown.ErrMissingValue) {
		return false, nil // it has never been switched on
	}
	on, _ := v.(bool)
	return on, err
}

// SetWiFiConnections lets lockdown be reached over Wi-Fi, or ends that.
func (d *Device) SetWiFiConnections(ctx context.Context, on bool) error {
	return d.Set(ctx, wirelessDomain, wirelessEnabled, on)
}

// Paired reports whether this host can open a session with the device. It never pairs.
func (d *Device) Paired(ctx context.Context) (bool, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	record, err := d.finder.loadRecord(ctx, d.Info())
	if errors.Is(err, ErrNotPaired) {
		return false, nil
	}
	if err != nil {
		return false, d.fail("validate pairing", "lockdown", err)
	}
	s, err := d.sessionWith(ctx, record)
	if errors.Is(err, lockdown.ErrInvalidHostID) {
		return false, nil
	}
	if err != nil {
		return false, d.fail("validate pairing", "lockdown", err)
	}
	return true, s.Close()
}
