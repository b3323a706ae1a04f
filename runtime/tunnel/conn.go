package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// tcpConn is a TCP connection of the stack. It implements net.Conn.
type tcpConn struct {
	stack         *Stack
	ep            tcpip.Endpoint
	queue         *waiter.Queue
	local, remote *net.TCPAddr

	entry  waiter.Entry
	closed chan struct{}
	once   sync.Once

	rd struct {
		mu sync.Mutex
		w  tcpip.SliceWriter
		side
	}
	wr struct {
		mu     sync.Mutex
		r      bytes.Reader
		broken bool
		side
	}
}

// side is the state of one direction of a connection.
type side struct {
	wake     chan struct{} // has a token after an event
	deadline deadline
}

func newSide() side {
	return side{wake: make(chan struct{}, 1), deadline: deadline{expired: make(chan struct{})}}
}

func (s *side) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// deadline has a channel that is closed when the deadline expires.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.expired // the timer is about to close it
	}
	d.timer = nil
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	expired := d.expired
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(expired) })
		return
	}
	close(expired)
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

// newConn returns a net.Conn for a connected endpoint.
func newConn(s *Stack, ep tcpip.Endpoint, queue *waiter.Queue) *tcpConn {
	c := &tcpConn{stack: s, ep: ep, queue: queue, closed: make(chan struct{})}
	c.rd.side, c.wr.side = newSide(), newSide()
	if a, err := ep.GetLocalAddress(); err == nil {
		c.local = tcpAddr(a)
	}
	if a, err := ep.GetRemoteAddress(); err == nil {
		c.remote = tcpAddr(a)
	}
	s.liveness.set(ep)
	c.entry = waiter.NewFunctionEntry(
		waiter.ReadableEvents|waiter.WritableEvents|waiter.EventHUp|waiter.EventErr, c.notify,
	)
	queue.EventRegister(&c.entry)
	return c
}

// liveness says when an idle connection is found to be dead, which is after idle +
// count * interval.
type liveness struct {
	idle, interval time.Duration
	count          int
}

var defaultLiveness = liveness{idle: 30 * time.Second, interval: 5 * time.Second, count: 4}

// set lets a connection find out that the device's side of it is gone while the tunnel
// is still up.
func (l liveness) set(ep tcpip.Endpoint) {
	idle := tcpip.KeepaliveIdleOption(l.idle)
	interval := tcpip.KeepaliveIntervalOption(l.interval)
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, l.count)
	ep.SocketOptions().SetKeepAlive(true)
}

func tcpAddr(a tcpip.FullAddress) *net.TCPAddr {
	return &net.TCPAddr{IP: a.Addr.AsSlice(), Port: int(a.Port)}
}

func (c *tcpConn) notify(mask waiter.EventMask) {
	if mask&(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		c.rd.signal()
	}
	if mask&(waiter.WritableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		c.wr.signal()
	}
}

// wait waits until the side should be tried again. It returns an error if it should
// not.
func (c *tcpConn) wait(s *side, expired <-chan struct{}) error {
	select {
	case <-s.wake:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-c.closed:
		return net.ErrClosed
	case <-c.stack.down:
		return c.stack.downErr()
	}
}

// refused returns the error of a call that must not be tried.
func (c *tcpConn) refused(expired <-chan struct{}) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-expired:
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// Read implements net.Conn.
func (c *tcpConn) Read(b []byte) (int, error) {
	c.rd.mu.Lock()
	defer c.rd.mu.Unlock()
	expired := c.rd.deadline.wait()
	if err := c.refused(expired); err != nil {
		return 0, c.opError("read", err)
	}
	if len(b) == 0 {
		return 0, nil
	}
	for {
		c.rd.w = b
		res, err := c.ep.Read(&c.rd.w, tcpip.ReadOptions{})
		c.rd.w = nil
		switch err.(type) {
		case nil:
			c.ep.ModerateRecvBuf(res.Count)
			return res.Count, nil
		case *tcpip.ErrWouldBlock:
			if err := c.wait(&c.rd.side, expired); err != nil {
				return 0, c.opError("read", err)
			}
			continue
		}
		return 0, c.opError("read", c.reason(err, io.EOF))
	}
}

// Write implements net.Conn.
func (c *tcpConn) Write(b []byte) (int, error) {
	c.wr.mu.Lock()
	defer c.wr.mu.Unlock()
	defer c.wr.r.Reset(nil)
	expired := c.wr.deadline.wait()
	if err := c.refused(expired); err != nil {
		return 0, c.opError("write", err)
	}
	done := 0
	for done < len(b) {
		c.wr.r.Reset(b[done:])
		n, err := c.ep.Write(&c.wr.r, tcpip.WriteOptions{})
		done += int(n)
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			if err := c.wait(&c.wr.side, expired); err != nil {
				return done, c.opError("write", err)
			}
		default:
			return done, c.opError("write", c.reason(err, nil))
		}
	}
	return done, nil
}

// reason returns the error for a refusal of the stack to read or write. eof is the
// error for the end of what the peer has sent.
func (c *tcpConn) reason(err tcpip.Error, eof error) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	_, closed := err.(*tcpip.ErrClosedForReceive)
	if closed && eof != nil {
		return eof
	}
	if down := c.stack.downErr(); down != nil {
		return down
	}
	return stackError(err)
}

func (c *tcpConn) opError(op string, err error) error {
	if err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite closes the writing direction. Reading remains possible.
func (c *tcpConn) CloseWrite() error { return c.shutdown(tcpip.ShutdownWrite) }

// CloseRead closes the reading direction. Writing remains possible.
func (c *tcpConn) CloseRead() error { return c.shutdown(tcpip.ShutdownRead) }

func (c *tcpConn) shutdown(how tcpip.ShutdownFlags) error {
	select {
	case <-c.closed:
		return c.opError("close", net.ErrClosed)
	default:
	}
	if err := c.ep.Shutdown(how); err != nil {
		return c.opError("close", c.reason(err, nil))
	}
	return nil
}

// Close implements net.Conn. Bytes that were written are still sent. If bytes have
// arrived that were not read, the peer gets a reset.
func (c *tcpConn) Close() error {
	err := c.opError("close", net.ErrClosed)
	c.once.Do(func() {
		close(c.closed)
		c.queue.EventUnregister(&c.entry)
		c.ep.Close()
		err = nil
	})
	return err
}

func (c *tcpConn) LocalAddr() net.Addr  { return c.local }
func (c *tcpConn) RemoteAddr() net.Addr { return c.remote }

func (c *tcpConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *tcpConn) SetReadDeadline(t time.Time) error  { return c.setDeadline(&c.rd.deadline, t) }
func (c *tcpConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.wr.deadline, t) }

func (c *tcpConn) setDeadline(d *deadline, t time.Time) error {
	select {
	case <-c.closed:
		return c.opError("set deadline", net.ErrClosed)
	default:
	}
	d.set(t)
	return nil
}

// fullAddress returns an address of the tunnel in the stack's form.
func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom16(a.Addr().As16()), Port: a.Port()}
}
