package diagnosticsrelay

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/service"
)

var exchanges = service.Exchanges{
	Errors: &errs, Max: MaxAnswer, Timeout: 60 * time.Second,
}

// Client is a connection to the service. Goroutines may share it; it makes one exchange
// at a time.
type Client struct{ service.Caller }

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service. Close closes c. A device that
// was asked to restart or shut down does so then.
func New(c net.Conn) *Client { return &Client{exchanges.Caller(c)} }

// request makes one exchange and fails if the outer Status of the answer is not
// Success. It returns the Diagnostics of the answer, or nil if there are none.
func (c *Client) request(
	ctx context.Context, op, subject string, req plist.Dict,
) (plist.Dict, error) {
	resp, err := c.Call(ctx, op, subject, req)
	if err != nil {
		return nil, err
	}
	if err := status(resp, op, subject); err != nil {
		return nil, err
	}
	d, _ := resp.Dict("Diagnostics")
	return d, nil
}

func status(d plist.Dict, op, subject string) error {
	s, ok := d.String("Status")
	switch {
	case !ok:
		return errs.New(op, subject, fmt.Errorf("%w: no Status", ErrProtocol))
	case service.Code(s) != success:
		return errs.Refused(op, subject, service.Code(s), "")
	}
	return nil
}

// MobileGestalt returns the values of the given keys. The result lacks keys that the
// device does not know. Since iOS 17.4 the call fails with ErrGestaltDeprecated.
func (c *Client) MobileGestalt(ctx context.Context, keys ...string) (plist.Dict, error) {
	const op = "mobile gestalt"
	list := make([]any, len(keys))
	for i, k := range keys {
		list[i] = k
	}
	resp, err := c.Call(ctx, op, "", plist.Dict{"Request": reqGestalt, "MobileGestaltKeys": list})
	if err != nil {
		return nil, err
	}
	diag, _ := resp.Dict("Diagnostics")
	values, ok := diag.Dict(reqGestalt)
	if ok {
		// The inner Status decides, because the outer one may be Success.
		if s, _ := values.String("Status"); s != "" && service.Code(s) != success {
			return nil, errs.Refused(op, "", service.Code(s), "")
		}
	}
	if err := status(resp, op, ""); err != nil {
		return nil, err
	}
	if !ok {
		return nil, errs.New(op, "", fmt.Errorf("%w: no values", ErrProtocol))
	}
	delete(values, "Status")
	return values, nil
}

// IORegistry returns the registry entry that matches q. If q has nothing but a plane,
// it returns the tree of that plane. The error wraps ErrNotFound if no entry matches.
func (c *Client) IORegistry(ctx context.Context, q Query) (plist.Dict, error) {
	const op = "ioregistry"
	diag, err := c.request(ctx, op, q.String(), q.request())
	if err != nil {
		return nil, err
	}
	entry, _ := diag.Dict(reqIORegistry)
	if len(entry) == 0 {
		return nil, errs.New(op, q.String(), ErrNotFound)
	}
	return entry, nil
}

// Battery returns the state of the battery.
func (c *Client) Battery(ctx context.Context) (*Battery, error) {
	d, err := c.IORegistry(ctx, Query{Class: "IOPMPowerSource"})
	if err != nil {
		return nil, err
	}
	b := parseBattery(d)
	return &b, nil
}

// All returns all groups of diagnostics by name: WiFi, GasGauge, HDMI and NAND.
func (c *Client) All(ctx context.Context) (plist.Dict, error) {
	d, err := c.request(ctx, "diagnostics", reqAll, plist.Dict{"Request": reqAll})
	if err == nil && d == nil {
		return nil, errs.New("diagnostics", reqAll, fmt.Errorf("%w: no Diagnostics", ErrProtocol))
	}
	return d, err
}

// WiFi returns the state of the wireless network.
func (c *Client) WiFi(ctx context.Context) (plist.Dict, error) { return c.group(ctx, reqWiFi) }

// GasGauge returns the charge cycles and the capacities of the battery.
func (c *Client) GasGauge(ctx context.Context) (plist.Dict, error) {
	return c.group(ctx, reqGasGauge)
}

// NAND returns the state of the flash memory.
func (c *Client) NAND(ctx context.Context) (plist.Dict, error) { return c.group(ctx, reqNAND) }

// HDMI returns the state of a screen that is connected.
func (c *Client) HDMI(ctx context.Context) (plist.Dict, error) { return c.group(ctx, reqHDMI) }

func (c *Client) group(ctx context.Context, name string) (plist.Dict, error) {
	const op = "diagnostics"
	diag, err := c.request(ctx, op, name, plist.Dict{"Request": name})
	if err != nil {
		return nil, err
	}
	d, ok := diag.Dict(name)
	if !ok {
		return nil, errs.New(op, name, fmt.Errorf("%w: no %s", ErrProtocol, name))
	}
	if s, _ := d.String("Status"); s != "" && service.Code(s) != success {
		return nil, errs.Refused(op, name, service.Code(s), "")
	}
	delete(d, "Status")
	return d, nil
}

// Restart restarts the device. It returns when the device has accepted the request. The
// restart begins after Goodbye or Close.
func (c *Client) Restart(ctx context.Context, o PowerOptions) error {
	_, err := c.request(ctx, "restart", "", o.request(reqRestart))
	return err
}

// Shutdown turns the device off. It returns like Restart.
func (c *Client) Shutdown(ctx context.Context, o PowerOptions) error {
	_, err := c.request(ctx, "shutdown", "", o.request(reqShutdown))
	return err
}

// Sleep turns the screen off.
func (c *Client) Sleep(ctx context.Context) error {
	_, err := c.request(ctx, "sleep", "", plist.Dict{"Request": reqSleep})
	return err
}

// Goodbye ends the exchange. The device answers and then closes the connection.
func (c *Client) Goodbye(ctx context.Context) error {
	_, err := c.request(ctx, "goodbye", "", plist.Dict{"Request": reqGoodbye})
	return err
}
