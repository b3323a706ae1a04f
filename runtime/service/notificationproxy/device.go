package notificationproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/service"
)

// insecurePrefix begins the names that the insecure variant relays. They concern
// pairing and the attachment of hosts.
const insecurePrefix = "com.apple.mobile.lockdown."

// Device is the device side for a virtual device. One Device serves any number of
// connections.
type Device struct {
	service.Env
	Insecure bool // the variant for hosts that are not paired
}

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// NewInsecureDevice returns the device side of the variant for hosts that are not
// paired.
func NewInsecureDevice(e service.Env) service.Handler {
	return &Device{Env: e, Insecure: true}
}

// session is the state of one connection.
type session struct {
	dev      *Device
	conn     *link.PlistConn
	observer *notifications.Observer
	names    map[string]struct{}
}

// Serve relays notifications until the peer disconnects or sends Shutdown, or until ctx
// ends.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	s := &session{
		dev:      d,
		conn:     &link.PlistConn{Conn: c, Max: MaxMessage},
		observer: d.Phone.Notifications.Observe(),
		names:    map[string]struct{}{},
	}
	defer s.observer.Close()
	inner, stop := context.WithCancel(ctx)
	defer stop()
	waiting, drain := context.WithCancel(inner)
	defer drain()
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		defer stop() // if a write fails, the host has disconnected
		s.relay(inner, waiting)
	}()
	err := s.commands(inner)
	if err == errShutdown {
		// Notifications that were posted before are still sent; ProxyDeath is the last
		// message. If the host has already disconnected, the write fails, which is not
		// an error.
		drain()
		<-relayed
		_ = s.conn.Send(ctx, message{Command: cmdDeath})
		return ctx.Err()
	}
	lost := inner.Err() != nil
	stop()
	<-relayed
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == io.EOF || lost:
		return nil
	}
	return errs.New("serve", "", err)
}

var errShutdown = errors.New("shutdown")

// commands reads the commands of the host. It answers none of them, not even an invalid
// one, because hosts would take the answer for a notification.
func (s *session) commands(ctx context.Context) error {
	log := s.dev.Log("notificationproxy")
	for {
		var m message
		if err := s.conn.Recv(ctx, &m); err != nil {
			return err
		}
		switch m.Command {
		case cmdShutdown:
			return errShutdown
		case cmdPost:
			if s.allowed(m.Name) {
				s.dev.Phone.Notifications.Post(m.Name)
				continue
			}
		case cmdObserve:
			if len(s.names) < MaxNames && s.allowed(m.Name) {
				s.names[m.Name] = struct{}{}
				s.observer.Add(m.Name)
				continue
			}
		}
		log.Warn("ignored", "command", link.Clip(m.Command))
	}
}

func (s *session) allowed(name string) bool {
	return checkName(name) == nil && (!s.dev.Insecure || strings.HasPrefix(name, insecurePrefix))
}

// relay sends notifications until a write fails or waiting ends. It still sends the
// notifications that are queued at that time.
func (s *session) relay(ctx, waiting context.Context) {
	for {
		name, err := s.observer.Next(waiting)
		if err != nil {
			return
		}
		if err := s.conn.Send(ctx, message{cmdRelay, name}); err != nil {
			return
		}
	}
}
