package device

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
)

// Lockdown in a tunnel has no sessions, because only a paired host can have the tunnel,
// and the services are in the list of the tunnel, where each needs a check-in. Programs
// that speak to lockdownd on port 62078 expect sessions and StartService. For them these
// requests are answered here, and all others by lockdown in the tunnel:
//
//	> {Request: "StartSession", HostID, SystemBUID}
//	< {Request: "StartSession", SessionID, EnableSessionSSL: false}
//	> {Request: "StartService", Service: "com.apple.afc"}
//	< {Request: "StartService", Service: "com.apple.afc", Port: 512, EnableServiceSSL: false}
//
// A connection to port 512 is then one to com.apple.afc.shim.remote after its check-in.
const (
	// Services that were started have the ports from firstStarted on, on which devices do
	// not listen. Each keeps its port until as many further services were started.
	firstStarted = 512
	maxStarted   = 512

	maxSharedRequest = 1 << 20
	// sharedLockdownIdle is the time after which lockdownd ends a silent connection.
	sharedLockdownIdle = time.Minute
)

// tunneledLockdown has the services that programs have started at a device.
type tunneledLockdown struct {
	mu    sync.Mutex
	names [maxStarted]string
	next  int
}

// start returns the port of a service that a program starts.
func (l *tunneledLockdown) start(name string) uint16 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.next % maxStarted
	l.names[n] = name
	l.next++
	return uint16(firstStarted + n)
}

// service returns the service that was started at a port, or "".
func (l *tunneledLockdown) service(port uint16) string {
	n := int(port) - firstStarted
	if n < 0 || n >= maxStarted {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[n]
}

// openStarted connects to a service in the tunnel.
func (d *Device) openStarted(ctx context.Context, name string) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	c, err := d.openTunneled(ctx, service.Name{Remote: name})
	return c, d.fail("open", name, err)
}

// tunneledLockdown connects a program to the lockdown of a tunnel.
func (s *Sharing) tunneledLockdown(
	ctx context.Context, one *shared, d *Device,
) (net.Conn, error) {
	bound, cancel := d.bound(ctx)
	defer cancel()
	t, err := d.tunnel(bound)
	if err != nil {
		return nil, d.fail("connect", "lockdown", err)
	}
	name := trustedLockdown
	if _, ok := t.list.Find(name); !ok {
		name = untrustedLockdown
	}
	remote, err := t.open(bound, service.Name{Remote: name, Checkin: true})
	if err != nil {
		return nil, d.fail("connect", "lockdown", err)
	}
	client, server := link.Pipe()
	b := &lockdownBridge{started: &one.started, list: t.list,
		remote: link.NewExchange(remote, link.MaxLockdownFrame, DefaultTimeout)}
	s.work.Go(func() {
		defer b.remote.Close()
		defer server.Close()
		defer context.AfterFunc(s.life, func() { server.Close() })()
		err := b.serve(s.life, server)
		s.finder.log.Debug("lockdown of a tunnel ended", "layer", "device", "err", err)
	})
	return client, nil
}

// lockdownBridge serves one connection to the lockdown of a tunnel.
type lockdownBridge struct {
	started *tunneledLockdown
	list    *rsd.Client
	remote  *link.Exchange
}

// serve answers the requests of a program until it leaves, and returns why it ended.
func (b *lockdownBridge) serve(ctx context.Context, c net.Conn) error {
	p := &link.PlistConn{Conn: c, Max: maxSharedRequest}
	for {
		bound, cancel := context.WithTimeout(ctx, sharedLockdownIdle)
		request, err := p.RecvDict(bound)
		var reply plist.Dict
		if err == nil {
			reply, err = b.answer(bound, request)
		}
		if err == nil {
			err = p.Send(bound, reply)
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

// answer returns the reply to a request.
func (b *lockdownBridge) answer(ctx context.Context, request plist.Dict) (plist.Dict, error) {
	name, _ := request.String("Request")
	switch name {
	case "StartSession":
		return plist.Dict{
			"Request": name, "SessionID": link.UUIDText(nil), "EnableSessionSSL": false,
		}, nil
	case "StopSession":
		return plist.Dict{"Request": name, "Result": "Success"}, nil
	case "StartService":
		wanted, _ := request.String("Service")
		reply := plist.Dict{"Request": name, "Service": wanted}
		s, ok := b.list.Find(wanted)
		if !ok || s.Transport() != rsd.Checkin {
			reply["Error"] = string(lockdown.ErrInvalidService)
			return reply, nil
		}
		reply["Port"], reply["EnableServiceSSL"] = int64(b.started.start(s.Name)), false
		return reply, nil
	}
	return b.remote.Ask(ctx, request)
}
