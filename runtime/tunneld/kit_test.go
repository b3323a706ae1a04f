package tunneld

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// udid is the one in the example of the protocol sheet.
const (
	udid    = "00008120-001A2D3E4F567890"
	oldUDID = "8c5f4e0e1f3b2a19d0c7b6a5948372615f4e3d2c"
	rsdPort = 58034
)

func mustAt(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var (
	tunnelAddress = netip.MustParseAddr("fd6c:7a1e:52b3::1")
	pythonAt      = netip.MustParseAddrPort(PythonAddress)
	goiosAt       = netip.MustParseAddrPort(GoIOSAddress)
)

// mesh is a loopback interface in memory. Ports in taken cannot be listened on.
type mesh struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*meshListener
	taken     map[netip.AddrPort]bool
	next      uint16
}

func newMesh() *mesh {
	return &mesh{
		listeners: map[netip.AddrPort]*meshListener{}, taken: map[netip.AddrPort]bool{},
		next: 40000,
	}
}

type meshListener struct {
	mesh   *mesh
	at     netip.AddrPort
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (m *mesh) listen(at netip.AddrPort) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.Port() == 0 {
		m.next++
		at = netip.AddrPortFrom(at.Addr(), m.next)
	}
	if m.taken[at] || m.listeners[at] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &meshListener{mesh: m, at: at, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	m.listeners[at] = l
	return l, nil
}

func (m *mesh) dial(_ context.Context, _, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	if host, port, err := net.SplitHostPort(address); err == nil && host == "localhost" {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, refused
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.listeners[at]
	if l == nil {
		return nil, refused
	}
	a, b := linktest.Prompt()
	select {
	case l.conns <- b:
		return a, nil
	default:
		return nil, refused
	}
}

func (m *mesh) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.listeners)
}

func (l *meshListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
	}
}

func (l *meshListener) Close() error {
	l.once.Do(func() {
		l.mesh.mu.Lock()
		delete(l.mesh.listeners, l.at)
		l.mesh.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *meshListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// gadget is a device at the end of a tunnel. It has a list of services, and an echo
// service on every listed port.
type gadget struct {
	phone  *phone.Phone
	image  atomic.Bool // whether a developer image is mounted
	more   []rsd.Service
	extra  []uint16    // ports with an echo service that are not listed
	brief  uint16      // a port that says "bye" and closes
	broken atomic.Bool // whether nothing answers
	dials  atomic.Int32
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}
	wg     sync.WaitGroup
}

func newGadget(t testing.TB) *gadget {
	t.Helper()
	p, err := phone.New(phone.Options{Profile: "ios18"})
	if err != nil {
		t.Fatal(err)
	}
	g := &gadget{phone: p, done: make(chan struct{})}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g
}

// die ends the tunnel.
func (g *gadget) die() {
	if g.ctx.Err() == nil {
		g.stop()
		close(g.done)
	}
	g.wg.Wait()
}

func (g *gadget) services() []rsd.Service {
	return append(rsd.Table(g.phone, rsd.TableOptions{Image: g.image.Load()}), g.more...)
}

func (g *gadget) dial(_ context.Context, port uint16) (net.Conn, error) {
	g.dials.Add(1)
	if g.ctx.Err() != nil || g.broken.Load() {
		return nil, errors.New("no route")
	}
	if port != rsdPort && port != g.brief && !slices.Contains(g.extra, port) &&
		!slices.ContainsFunc(g.services(), func(s rsd.Service) bool { return s.Port == port }) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	a, b := linktest.Prompt()
	if port == g.brief {
		io.WriteString(b, "bye")
		b.Close()
		return a, nil
	}
	g.wg.Go(func() {
		stop := context.AfterFunc(g.ctx, func() { b.Close() })
		defer stop()
		defer b.Close()
		if port == rsdPort {
			_ = (&rsd.Device{Phone: g.phone, Services: g.services}).Serve(g.ctx, b)
			return
		}
		fmt.Fprintf(b, "%d:", port)
		_, _ = io.Copy(b, b)
		_ = link.CloseWrite(b)
		_, _ = io.Copy(io.Discard, b)
	})
	return a, nil
}

func (g *gadget) tunnel(id string) Tunnel {
	return Tunnel{
		UDID: id, Address: tunnelAddress, RSDPort: rsdPort, Interface: "usbmux-" + id + "-USB",
		Dial: g.dial, Done: g.done,
	}
}

// keeper is a Manager.
type keeper struct {
	mu      sync.Mutex
	list    []Tunnel
	gadgets map[string]*gadget
	ready   bool
	start   func(ctx context.Context, udid, address, connection string) (Tunnel, error)
	calls   []string
}

func (k *keeper) add(g *gadget, id string) Tunnel {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := g.tunnel(id)
	k.list = append(k.list, t)
	if k.gadgets == nil {
		k.gadgets = map[string]*gadget{}
	}
	k.gadgets[id] = g
	return t
}

func (k *keeper) Tunnels() []Tunnel {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.list)
}

func (k *keeper) Start(ctx context.Context, id, address, connection string) (Tunnel, error) {
	k.mu.Lock()
	k.calls = append(k.calls,
		strings.TrimRight(fmt.Sprintf("start %s %s %s", id, address, connection), " "))
	for _, t := range k.list {
		if SameUDID(t.UDID, id) {
			k.mu.Unlock()
			return t, nil
		}
	}
	k.mu.Unlock()
	if k.start == nil {
		return Tunnel{}, fmt.Errorf("device %s: %w", id, fs.ErrNotExist)
	}
	return k.start(ctx, id, address, connection)
}

func (k *keeper) Cancel(id string) bool { return k.end("cancel", id) }

// Restart does not make the tunnel again, which is a Manager's business.
func (k *keeper) Restart(id string) bool { return k.end("restart", id) }

func (k *keeper) end(call, id string) bool {
	k.mu.Lock()
	k.calls = append(k.calls, call+" "+id)
	n := len(k.list)
	k.list = slices.DeleteFunc(k.list, func(t Tunnel) bool { return SameUDID(t.UDID, id) })
	gone, g := n != len(k.list), k.gadgets[id]
	k.mu.Unlock()
	if gone && g != nil {
		g.die()
	}
	return gone
}

func (k *keeper) Clear() {
	k.mu.Lock()
	k.calls = append(k.calls, "clear")
	k.list = nil
	k.mu.Unlock()
	for _, g := range k.gadgets {
		g.die()
	}
}

func (k *keeper) Ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ready
}

// bench is a server in a synctest bubble.
type bench struct {
	t      *testing.T
	mesh   *mesh
	keeper *keeper
	server *Server
	result chan error
}

// bubble runs a test with synthetic time, in which no goroutine may be left at the end.
// setup may change the server before it serves.
func bubble(t *testing.T, setup func(b *bench), f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, mesh: newMesh(), keeper: &keeper{}, result: make(chan error, 1)}
		b.server = &Server{
			Manager: b.keeper, net: &network{listen: b.mesh.listen, dial: b.mesh.dial, alias: true},
		}
		if setup != nil {
			setup(b)
		}
		python, goios := b.listener(pythonAt), b.listener(goiosAt)
		go func() { b.result <- b.server.Serve(context.Background(), python, goios) }()
		synctest.Wait()
		f(b)
		b.server.Close()
		if err := <-b.result; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		for _, g := range b.keeper.gadgets {
			g.die()
		}
		if n := b.mesh.count(); n != 0 {
			t.Errorf("%d listeners are left", n)
		}
	})
}

func (b *bench) listener(at netip.AddrPort) net.Listener {
	l, err := b.mesh.listen(at)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// plug adds a tunnel and waits until it is listed.
func (b *bench) plug(id string) *gadget {
	b.t.Helper()
	g := newGadget(b.t)
	b.keeper.add(g, id)
	b.server.Changed()
	synctest.Wait()
	return g
}

// client returns a client of one of the server's APIs.
func (b *bench) client(address string) *Client {
	return &Client{Address: address, DialContext: b.mesh.dial}
}

// exchange sends a request unchanged and returns the response and its body.
func (b *bench) exchange(at netip.AddrPort, request string) (*http.Response, string) {
	b.t.Helper()
	c, err := b.mesh.dial(context.Background(), "tcp", at.String())
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		b.t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		b.t.Fatalf("%q: %v", request, err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r, string(body)
}

// get sends a request such as "GET /" with the headers that HTTP requires only.
func (b *bench) get(at netip.AddrPort, line string) (int, string) {
	b.t.Helper()
	r, body := b.exchange(at, line+" HTTP/1.1\r\nHost: "+at.String()+"\r\n\r\n")
	return r.StatusCode, body
}

// post sends a request with a body.
func (b *bench) post(at netip.AddrPort, line, body string) (int, string) {
	b.t.Helper()
	r, answer := b.exchange(at, fmt.Sprintf(
		"%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		line, at, len(body), body,
	))
	return r.StatusCode, answer
}

// wantText checks what was read.
func wantText(t testing.TB, what, got string, err error, want string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// wantEcho checks that a service answers through dial.
func wantEcho(t testing.TB, dial dialer, port uint16) {
	t.Helper()
	got, err := echo(dial, port)
	if err != nil {
		t.Errorf("the service at port %d: %v", port, err)
	}
	if !strings.HasSuffix(got, ":hello") {
		t.Errorf("the service at port %d says %q, want an echo of hello", port, got)
	}
}

// mustList returns the tunnels that c lists, which must be n.
func mustList(t testing.TB, c *Client, n int) []Entry {
	t.Helper()
	list, err := c.List(context.Background())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(list) != n {
		t.Fatalf("List returns %d tunnels, want %d: %.1000v", len(list), n, list)
	}
	return list
}

// wantGet checks that a GET request succeeds with an answer that has this part.
func (b *bench) wantGet(at netip.AddrPort, line, part string) {
	b.t.Helper()
	status, body := b.get(at, line)
	if status != http.StatusOK {
		b.t.Errorf("%s: status %d, want 200", line, status)
	}
	if !strings.Contains(body, part) {
		b.t.Errorf("%s: body %s, want %q in it", line, body, part)
	}
}

// wantAnswer checks the status and the body of an answer.
func wantAnswer(t testing.TB, what string, status int, body string, wantStatus int, want string) {
	t.Helper()
	if status != wantStatus {
		t.Errorf("%s: status %d, want %d", what, status, wantStatus)
	}
	if body != want {
		t.Errorf("%s: body %s\nwant %s", what, body, want)
	}
}

// wantError checks that err is an Error of this operation with this address, unless that
// is empty.
func wantError(t testing.TB, what string, err error, op, address string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %.200v (%T), want an *Error", what, err, err)
		return
	}
	if e.Op != op {
		t.Errorf("%s: the operation of %v is %q, want %q", what, err, e.Op, op)
	}
	if e.Address != address && address != "" {
		t.Errorf("%s: the address of %v is %q, want %q", what, err, e.Address, address)
	}
}

// dialer connects to a port of a device, as the field Dial of an Entry does.
type dialer = func(ctx context.Context, port uint16) (net.Conn, error)

// echo uses a service of a gadget through dial.
func echo(dial dialer, port uint16) (string, error) {
	c, err := dial(context.Background(), port)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		return "", err
	}
	if err := link.CloseWrite(c); err != nil {
		return "", err
	}
	var all bytes.Buffer
	_, err = io.Copy(&all, c)
	return all.String(), err
}
