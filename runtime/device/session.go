package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
)

// heartbeatTime bounds the start of the heartbeat, because the session cannot be used
// before.
const heartbeatTime = 3 * time.Second

// session is a lockdown connection with a session, or one in a tunnel, which needs
// none.
type session struct {
	*lockdown.Client
	route    Route // invalid in a tunnel
	identity lockdown.Identity
	record   *pair.Record
	beat     *heartbeat.Client // over Wi-Fi; nil elsewhere
	used     bool              // whether it has answered; if so, it is opened again when it breaks
	epoch    int               // of the pairing; see sessions
}

// Close ends the session.
func (s *session) Close() error {
	if s.beat != nil {
		s.beat.Close()
	}
	return s.Client.Close()
}

// withOwnSession runs fn with a session of its own on a route that the shared session
// does not use. Pairing is left to the shared session.
func (d *Device) withOwnSession(ctx context.Context, route Route, fn func(*session) error) error {
	record, err := d.finder.loadRecord(ctx, d.Info())
	if errors.Is(err, ErrNotPaired) && d.mayPair() {
		if err := d.withSession(ctx, func(*session) error { return nil }); err != nil {
			return err
		}
		record, err = d.finder.loadRecord(ctx, d.Info())
	}
	if err != nil {
		return d.overUSB(err)
	}
	c, err := d.connectOn(ctx, route, lockdown.Port, "lockdown")
	if err != nil {
		return err
	}
	s, err := d.begin(ctx, c, route, record)
	if err != nil {
		return err
	}
	defer s.Close()
	return fn(s)
}

// sessionLost reports whether err means that the lockdown connection cannot be used any
// more. It is false for a refusal.
func sessionLost(err error) bool {
	var refused *lockdown.Error
	if errors.As(err, &refused) && refused.Code != "" {
		return slices.Contains([]lockdown.Code{
			lockdown.ErrSessionInactive, lockdown.ErrInvalidConnection, lockdown.ErrInvalidResponse,
		}, refused.Code)
	}
	return true
}

// plain opens a lockdown connection without a session.
func (d *Device) plain(ctx context.Context) (*lockdown.Client, error) {
	if _, ok := d.Info().lockdown(); !ok {
		t, err := d.tunnel(ctx)
		if err != nil {
			return nil, err
		}
		c, err := listedLockdown(ctx, t.list, d.finder.opts)
		return c, t.why(err)
	}
	c, _, err := d.connect(ctx, lockdown.Port, "lockdown")
	if err != nil {
		return nil, err
	}
	return lockdown.New(c,
		lockdown.Options{Label: d.finder.opts.Label, Logger: d.finder.opts.Logger}), nil
}

// startSession opens a session with the stored pair record. If there is none, or the
// device has forgotten it, it pairs first, if that is allowed.
func (d *Device) startSession(ctx context.Context) (*session, error) {
	epoch := d.sessions.now()
	s, err := d.newSession(ctx)
	if err != nil {
		return nil, err
	}
	s.epoch = epoch
	return s, nil
}

func (d *Device) newSession(ctx context.Context) (*session, error) {
	if _, ok := d.Info().lockdown(); !ok {
		c, err := d.plain(ctx) // lockdown needs no session in a tunnel
		if err != nil {
			return nil, err
		}
		return &session{Client: c}, nil
	}
	record, err := d.finder.loadRecord(ctx, d.Info())
	if err != nil && !errors.Is(err, ErrNotPaired) {
		return nil, err
	}
	if err == nil {
		s, err := d.sessionWith(ctx, record)
		if err == nil || !errors.Is(err, lockdown.ErrInvalidHostID) || !d.mayPair() {
			return s, d.overUSB(err)
		}
	} else if !d.mayPair() {
		return nil, d.overUSB(err)
	}
	record, err = d.pairOnce(ctx, record)
	if err != nil {
		return nil, err
	}
	return d.sessionWith(ctx, record)
}

// mayPair reports whether a session may pair by itself. Devices refuse pairing over a
// network. Another device there might accept it, and would then replace the real one in
// the pair record.
func (d *Device) mayPair() bool {
	route, ok := d.Info().lockdown()
	return ok && route.Kind == "usb" && !d.finder.opts.NoAutoPair
}

// unpaired reports whether an error means that the device does not know this host.
func unpaired(err error) bool {
	return errors.Is(err, ErrNotPaired) || errors.Is(err, lockdown.ErrInvalidHostID)
}

// overUSB adds to the error of a session that the device must be paired over USB, if that
// is the reason.
func (d *Device) overUSB(err error) error {
	route, _ := d.Info().lockdown()
	if !unpaired(err) || route.Kind == "usb" {
		return err
	}
	return fmt.Errorf("%w (%w)", err, ErrPairOverUSB)
}

func (d *Device) sessionWith(ctx context.Context, record *pair.Record) (*session, error) {
	c, route, err := d.connect(ctx, lockdown.Port, "lockdown")
	if err != nil {
		return nil, err
	}
	return d.begin(ctx, c, route, record)
}

// begin starts a session on a connection to lockdown. Over Wi-Fi the device requires a
// heartbeat while the session lasts. If the device does not answer the start of that
// service, the session goes without it, on another connection.
func (d *Device) begin(
	ctx context.Context, c net.Conn, route Route, record *pair.Record,
) (*session, error) {
	s, err := d.handshake(ctx, c, route, record)
	if err != nil || route.Via != ViaLockdown {
		return s, err
	}
	err = d.keepAwake(ctx, s)
	if err == nil {
		return s, nil
	}
	d.log.Debug("no heartbeat", "layer", "device", "err", err)
	if !sessionLost(err) {
		return s, nil
	}
	s.Close()
	c, err = d.connectOn(ctx, route, lockdown.Port, "lockdown")
	if err != nil {
		return nil, err
	}
	return d.handshake(ctx, c, route, record)
}

// handshake starts a session on a connection to lockdown.
func (d *Device) handshake(
	ctx context.Context, c net.Conn, route Route, record *pair.Record,
) (*session, error) {
	cert, err := record.Certificate()
	if err != nil {
		c.Close()
		return nil, err
	}
	key, err := record.DeviceKey()
	if err != nil {
		c.Close()
		return nil, err
	}
	if key == nil {
		d.finder.warn(fmt.Sprintf(
			"the pair record of %s has no DeviceCertificate: the device is not authenticated",
			d.UDID()), nil)
	}
	client := lockdown.New(c,
		lockdown.Options{Label: d.finder.opts.Label, Logger: d.finder.opts.Logger})
	s := &session{Client: client, route: route, record: record, identity: lockdown.Identity{
		HostID: record.HostID, SystemBUID: record.SystemBUID, Certificate: cert, DeviceKey: key,
	}}
	if err := client.StartSession(ctx, s.identity); err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

// keepAwake answers the device's heartbeat while a session over Wi-Fi lasts. The error
// is that of the session: it is not an error if the service cannot be used after it was
// started.
func (d *Device) keepAwake(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTime)
	defer cancel()
	end, err := s.StartService(ctx, heartbeat.Service.Lockdown, nil)
	if err != nil {
		return err
	}
	c, err := d.connectOn(ctx, s.route, end.Port, heartbeat.Service.Lockdown)
	if err == nil && end.TLS {
		c, err = lockdown.ServiceTLS(ctx, c, s.identity, false)
	}
	if err != nil {
		d.log.Debug("no heartbeat", "layer", "device", "err", err)
		return nil
	}
	s.beat = heartbeat.New(c)
	s.beat.Start()
	return nil
}
