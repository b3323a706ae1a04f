package link

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// AllInterfaces stands for every address of this computer in Listen.
const AllInterfaces = "*"

// probeTime is how long it may take to see whether a unix socket is served.
const probeTime = time.Second

// Listen listens where address says and nowhere else. network is "tcp" or "unix".
//
// Without a host it listens on the loopback interface alone. 0.0.0.0 is every
// address of IPv4 and [::] every address of IPv6, where net.Listen takes both for
// both; AllInterfaces as the host is really both.
//
// A unix socket can be used by its owner alone. A socket file that nobody serves
// any more, as a killed program leaves it behind, is replaced.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if network == "unix" {
		return listenUnix(ctx, address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	at, err := netip.ParseAddr(host)
	switch {
	case host == "":
		host = "127.0.0.1"
		network = "tcp4"
	case host == AllInterfaces:
		host = ""
	case err != nil: // a name
	case at.Unmap().Is4():
		network = "tcp4"
	default:
		network = "tcp6"
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, network, net.JoinHostPort(host, port))
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	l, err := listenPrivate(ctx, path)
	if err == nil || !Is(err, syscall.EADDRINUSE) || !abandoned(ctx, path) {
		return l, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return listenPrivate(ctx, path)
}

// listenPrivate makes a socket that only its owner can connect to.
func listenPrivate(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(ownerOnly) // where that works, the socket is never open to others
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// abandoned reports whether path is a socket that nobody serves. One that refuses
// us for another reason may belong to somebody else.
func abandoned(ctx context.Context, path string) bool {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&fs.ModeSocket == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return false
	}
	return Is(err, syscall.ECONNREFUSED)
}
