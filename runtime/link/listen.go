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

// probeTime bounds the check whether a unix socket is served.
const probeTime = time.Second

// Listen listens at address only. network is "tcp" or "unix".
//
// Without a host it listens on the loopback interface only. 0.0.0.0 is every address of
// IPv4 and [::] every address of IPv6, whereas net.Listen takes each of them for both.
// AllInterfaces as the host is every address of both.
//
// Only the owner can use a unix socket. Listen replaces a socket file that is not
// served any more, which a killed program leaves behind.
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
	case err != nil: // the host is a name
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

// listenPrivate makes a socket to which only its owner can connect.
func listenPrivate(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(ownerOnly) // where this works, other users never have access to the socket
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

// abandoned reports whether path is a socket that is not served. A socket that refuses
// the connection for another reason may belong to another user.
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

// ListenAll listens at each of the addresses. If listening fails at one, it closes the
// listeners of the others.
func ListenAll[A any](addresses []A, listen func(A) (net.Listener, error)) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, a := range addresses {
		l, err := listen(a)
		if err != nil {
			CloseAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// CloseAll closes listeners, which removes the files of unix sockets.
func CloseAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
