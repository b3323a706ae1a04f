package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// kernelConns has the connections and listeners in a tunnel that is an interface of the
// kernel. The kernel does not end them when the interface is removed, so they are
// closed here. Their errors then state why.
type kernelConns struct {
	ctx    context.Context // ends with the tunnel
	cancel context.CancelFunc

	mu    sync.Mutex
	cause error // set before ctx ends
	open  map[io.Closer]struct{}
}

// end closes all of them.
func (k *kernelConns) end(cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		return
	}
	k.cause = &downError{cause: cause}
	k.cancel()
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
}

func (k *kernelConns) downErr() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cause
}

// add closes c when the tunnel ends, or at once if it has ended.
func (k *kernelConns) add(c io.Closer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause != nil {
		c.Close()
		return k.cause
	}
	if k.open == nil {
		k.open = map[io.Closer]struct{}{}
	}
	k.open[c] = struct{}{}
	return nil
}

func (k *kernelConns) remove(c io.Closer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, c)
}

// why returns the reason for the end of the tunnel in place of the error that it
// caused.
func (k *kernelConns) why(err error) error {
	down := k.downErr()
	if err == nil || err == io.EOF || down == nil {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		own := *op
		own.Err = down
		return &own
	}
	return down
}

// DialTCP is Stack.DialTCP on a socket of the kernel.
func (k *kernelConns) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	c, err := k.dial(ctx, to)
	if err != nil {
		return nil, &Error{Op: "dial", Subject: to.String(), Err: err}
	}
	return c, nil
}

func (k *kernelConns) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if to.Port() == 0 {
		return nil, errors.New("port 0 is none to dial")
	}
	if err := k.downErr(); err != nil {
		return nil, err
	}
	dialing, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	l := defaultLiveness
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: l.idle, Interval: l.interval, Count: l.count,
	}}
	c, err := d.DialContext(dialing, "tcp6", to.String())
	switch {
	case err == nil:
		return k.adopt(c)
	case k.downErr() != nil:
		return nil, k.downErr()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the Error that wraps it has the address
	}
	return nil, err
}

func (k *kernelConns) adopt(c net.Conn) (net.Conn, error) {
	t := &kernelConn{TCPConn: c.(*net.TCPConn), conns: k}
	if err := k.add(t.TCPConn); err != nil {
		return nil, err
	}
	return t, nil
}

func (k *kernelConns) listen(at netip.AddrPort) (net.Listener, error) {
	err := k.downErr()
	var l *net.TCPListener
	if err == nil {
		l, err = net.ListenTCP("tcp6", net.TCPAddrFromAddrPort(at))
	}
	if err == nil {
		err = k.add(l)
	}
	if err != nil {
		return nil, &Error{Op: "listen", Subject: at.String(), Err: err}
	}
	return &kernelListener{TCPListener: l, conns: k}, nil
}

// kernelConn is a connection whose errors state that the tunnel has ended.
type kernelConn struct {
	*net.TCPConn
	conns *kernelConns
}

func (c *kernelConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	return n, c.conns.why(err)
}

func (c *kernelConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, c.conns.why(err)
}

// ReadFrom and WriteTo use Read and Write.
func (c *kernelConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	return n, c.conns.why(err)
}

// WriteTo implements io.WriterTo.
func (c *kernelConn) WriteTo(w io.Writer) (int64, error) {
	n, err := c.TCPConn.WriteTo(w)
	return n, c.conns.why(err)
}

func (c *kernelConn) CloseRead() error  { return c.conns.why(c.TCPConn.CloseRead()) }
func (c *kernelConn) CloseWrite() error { return c.conns.why(c.TCPConn.CloseWrite()) }

func (c *kernelConn) SetDeadline(t time.Time) error {
	return c.conns.why(c.TCPConn.SetDeadline(t))
}

func (c *kernelConn) SetReadDeadline(t time.Time) error {
	return c.conns.why(c.TCPConn.SetReadDeadline(t))
}

func (c *kernelConn) SetWriteDeadline(t time.Time) error {
	return c.conns.why(c.TCPConn.SetWriteDeadline(t))
}

func (c *kernelConn) Close() error {
	c.conns.remove(c.TCPConn)
	return c.TCPConn.Close()
}

type kernelListener struct {
	*net.TCPListener
	conns *kernelConns
}

func (l *kernelListener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil {
		return nil, l.conns.why(err)
	}
	return l.conns.adopt(c)
}

func (l *kernelListener) Close() error {
	l.conns.remove(l.TCPListener)
	return l.TCPListener.Close()
}
