package tunneld

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/rsd"
)

const (
	// requestTimeout bounds a request of a Client without Timeout.
	requestTimeout = 5 * time.Second
	// identifyTimeout bounds each request of Identify.
	identifyTimeout = 2 * time.Second
	// checkTimeout bounds the connection to one tunnel in Find.
	checkTimeout = 2 * time.Second
	maxChecked   = 8
	// dialTimeout bounds a connection into a tunnel, in addition to its context.
	dialTimeout = 10 * time.Second
)

// Entry is a tunnel that another program keeps.
type Entry struct {
	// UDID is the device's, spelt as the other program does; see SameUDID.
	UDID string
	// Address is the address at which the device is dialled if there is no relay.
	Address netip.Addr
	// RSDPort is the port of the device's list of services.
	RSDPort uint16
	// Interface is a label of how the tunnel was made, such as "usbmux-UDID-USB", or ""
	// if the API has none.
	Interface string
	// API is the API from which the entry was read.
	API API
	// RelayPort is the port of go-ios' relay on the server's host, or 0 if Address is
	// dialled directly.
	RelayPort uint16
	// Dial opens a connection to a port of the device, through the relay if
	// there is one.
	Dial func(ctx context.Context, port uint16) (net.Conn, error)
}

// Client asks another program for its tunnels, over any of the known APIs.
type Client struct {
	// Address is the program's, HOST:PORT; it must be set.
	Address string
	// Token is sent with every request; "" sends none. Only servers of this package ask
	// for a token. A server that has accepted the token also makes the connections into
	// its tunnels for the client, so it may be on another machine. The token is not
	// encrypted on the way.
	Token string
	// Timeout bounds each request, in addition to its context; 0 means five seconds.
	// Start waits five seconds longer than the minute that servers take for it.
	Timeout time.Duration
	// Host is the identity of this computer in the tunnels; see rsd.Options.Host.
	Host [16]byte
	// DialContext replaces that of net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger is silent when nil.
	Logger *slog.Logger
}

// List returns the tunnels of the program at address, HOST:PORT.
func List(ctx context.Context, address string) ([]Entry, error) {
	return (&Client{Address: address}).List(ctx)
}

// Start asks the program at address for a tunnel to a device.
func Start(ctx context.Context, address, udid string) (Entry, error) {
	return (&Client{Address: address}).Start(ctx, udid)
}

// probe is the request that lists the tunnels of an API.
type probe struct {
	api    API
	port   string // its default port
	path   string
	decode func([]byte) ([]Entry, error)
}

var probes = []probe{
	{Python, "49151", "/", decodeList},
	{GoIOS, "60105", "/tunnels", decodeTunnels},
	{Appium, "42314", registryPath, decodeRegistry},
}

// ordered returns the probes. The one whose default port is that of address comes
// first.
func ordered(address string) []probe {
	_, port, _ := net.SplitHostPort(address)
	var first, rest []probe
	for _, p := range probes {
		if p.port == port {
			first = append(first, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(first, rest...)
}

// List returns the program's tunnels, over whichever API it answers. If a device has
// several, the first entry is the one that other clients use.
func (c *Client) List(ctx context.Context) ([]Entry, error) {
	var reason error = &Error{Op: "list", Address: c.Address, Err: ErrUnknownAPI}
	for _, p := range ordered(c.Address) {
		a, err := c.get(ctx, p.path, c.timeout())
		if err != nil {
			return nil, &Error{Op: "list", Address: c.Address, Err: err}
		}
		switch a.status {
		case http.StatusOK:
			list, err := p.decode(a.body)
			if err == nil {
				for i := range list {
					list[i].Dial = c.dialer(list[i], a.server)
				}
				c.logger().Debug("list", "address", c.Address, "api", p.api, "tunnels", len(list))
				return list, nil
			}
			reason = &Error{Op: "list", Address: c.Address, Text: string(p.api), Err: err}
		case http.StatusUnauthorized, http.StatusForbidden:
			return nil, a.refusal("list", c.Address)
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		default:
			reason = a.refusal("list", c.Address)
		}
	}
	return nil, reason
}

// Start asks for a tunnel to a device, and waits for it if the program does not have
// one yet. Only pymobiledevice3's API can do this. The server gives up after a minute
// at the latest, and Start soon afterwards.
func (c *Client) Start(ctx context.Context, udid string) (Entry, error) {
	a, err := c.get(ctx, "/start-tunnel?udid="+url.QueryEscape(udid), startTimeout+requestTimeout)
	if err != nil {
		return Entry{}, &Error{Op: "start", Address: c.Address, Err: err}
	}
	if a.status != http.StatusOK {
		return Entry{}, a.refusal("start", c.Address)
	}
	e, err := decodeStarted(udid, a.body)
	if err != nil {
		return Entry{}, &Error{Op: "start", Address: c.Address, Err: err}
	}
	e.Dial = c.dialer(e, a.server)
	return e, nil
}

// Find returns the first tunnel to a device in which that device itself answers. If
// there is none, the error matches fs.ErrNotExist and says why each of the device's
// tunnels was left out. Find tries the first few tunnels only of a device that has very
// many.
func (c *Client) Find(ctx context.Context, udid string) (Entry, error) {
	list, err := c.List(ctx)
	if err != nil {
		return Entry{}, err
	}
	reasons := []error{fmt.Errorf("no tunnel to %q: %w", link.Clip(udid), fs.ErrNotExist)}
	for _, e := range list {
		if !SameUDID(e.UDID, udid) {
			continue
		}
		if len(reasons) > maxChecked {
			break
		}
		err := c.check(ctx, e)
		if err == nil {
			return e, nil
		}
		reasons = append(reasons, err)
	}
	return Entry{}, &Error{Op: "find", Address: c.Address, Err: errors.Join(reasons...)}
}

// check reports an error unless the device that an entry names answers in its tunnel.
func (c *Client) check(ctx context.Context, e Entry) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r, err := rsd.Dial(ctx, e.Dial, e.RSDPort, rsd.Options{Host: c.Host, Logger: c.Logger})
	if err != nil {
		return err
	}
	defer r.Close()
	if got := r.Peer().Properties.UDID(); !SameUDID(got, e.UDID) {
		return fmt.Errorf("%q answers in place of %q", link.Clip(got), link.Clip(e.UDID))
	}
	return nil
}

func (c *Client) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger.With("layer", "tunneld")
}

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return requestTimeout
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.DialContext != nil {
		return c.DialContext(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// answer is a complete HTTP response.
type answer struct {
	status int
	server string // the Server header
	body   []byte
}

// get makes one request on a connection of its own. It follows no redirection and uses
// no proxy of the environment.
func (c *Client) get(ctx context.Context, path string, timeout time.Duration) (*answer, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Address+path, nil)
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return fetch(request, c.dial)
}

// fetch makes a request and reads the answer. It bounds the time and the size of both.
func fetch(
	request *http.Request,
	dial func(ctx context.Context, network, address string) (net.Conn, error),
) (*answer, error) {
	t := &http.Transport{
		DialContext: dial, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxHeader,
	}
	defer t.CloseIdleConnections()
	h := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	response, err := h.Do(request)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the Error that wraps it has the address
		}
		return nil, clipped{err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, answerError(fmt.Errorf("over the limit of %d bytes", maxAnswer))
	}
	return &answer{
		status: response.StatusCode, server: response.Header.Get("Server"), body: body,
	}, nil
}

// refusal returns the error for an answer that refuses the request.
func (a *answer) refusal(op, address string) *Error {
	return &Error{Op: op, Address: address, Status: a.status, Text: a.text()}
}

// text returns the message that the answer has for people.
func (a *answer) text() string {
	var said struct {
		Error  any `json:"error"`
		Detail any `json:"detail"`
	}
	if json.Unmarshal(a.body, &said) != nil {
		return link.Clip(string(a.body))
	}
	for _, v := range []any{said.Error, said.Detail} {
		switch v := v.(type) {
		case string:
			return link.Clip(v)
		case map[string]any:
			if s, ok := v["exception"].(string); ok {
				return link.Clip(s)
			}
		}
	}
	return ""
}

// dialer returns the Dial of an entry. If the server is one of this package and the
// client has its token, the server is asked for the connection, because it may be on
// another machine.
func (c *Client) dialer(
	e Entry, server string,
) func(ctx context.Context, port uint16) (net.Conn, error) {
	dial := c.direct
	if e.RelayPort != 0 {
		dial = c.relayed
	}
	if c.Token != "" && server == serverName {
		near := dial
		dial = func(ctx context.Context, e Entry, port uint16) (net.Conn, error) {
			nc, err := c.connect(ctx, e.Address, port)
			if notThere(err) {
				return near(ctx, e, port)
			}
			return nc, err
		}
	}
	return func(ctx context.Context, port uint16) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		err := errors.New("no port")
		if port != 0 {
			var nc net.Conn
			nc, err = dial(ctx, e, port)
			if err == nil {
				return nc, nil
			}
		}
		return nil, &Error{
			Op: "dial", Address: netip.AddrPortFrom(e.Address, port).String(), Err: err,
		}
	}
}

// direct dials the address of an entry.
func (c *Client) direct(ctx context.Context, e Entry, port uint16) (net.Conn, error) {
	return c.dial(ctx, "tcp", netip.AddrPortFrom(e.Address, port).String())
}

// relayed dials the relay of an entry, which is on the server's host.
func (c *Client) relayed(ctx context.Context, e Entry, port uint16) (net.Conn, error) {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	nc, err := c.dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(e.RelayPort))))
	if err != nil {
		return nil, err
	}
	release := link.GuardWrite(ctx, nc)
	_, err = nc.Write(appendPreamble(nil, e.Address, port))
	err = release(err)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return nc, nil
}
