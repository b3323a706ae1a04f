package installationproxy

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// callTimeout bounds a call whose context has no deadline. Disk usage of many
// apps takes a device a while.
const callTimeout = 2 * time.Minute

// Client asks one device. Calls from several goroutines queue up.
type Client struct{ exchange *link.Exchange }

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	c, err := o.Open(ctx, Service)
	if err != nil {
		return nil, errs.New("connect", "", err)
	}
	return New(c), nil
}

// New speaks the protocol on c, which Close closes.
func New(c net.Conn) *Client {
	return &Client{link.NewExchange(c, MaxAnswer, callTimeout)}
}

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.exchange.Close() }

// each sends req and hands each message of the answer to take until that
// reports the end. An error that the device sent ends the answer.
func (c *Client) each(
	ctx context.Context, op, subject string, req plist.Dict,
	take func(plist.Dict) (end bool, err error),
) error {
	var refused error
	err := c.exchange.Each(ctx, req, func(m plist.Dict) (bool, error) {
		if refused = refusal(m, op, subject); refused != nil {
			return true, nil
		}
		return take(m)
	})
	if err != nil {
		return errs.New(op, subject, err)
	}
	return refused
}

// refusal returns the error that a device sent, if it did.
func refusal(m plist.Dict, op, subject string) error {
	code, hasCode := m.String("Error")
	text, hasText := m.String("ErrorDescription")
	if !hasCode && !hasText {
		return nil
	}
	if !hasCode {
		code = string(ErrAPIInternalError)
	}
	e := errs.Refused(op, subject, service.Code(code), text)
	e.Number, _ = m.Int("ErrorDetail")
	return e
}

// Browse returns the apps, in the device's order. Entries that cannot be decoded are
// left out, see link.PassOver.
func (c *Client) Browse(ctx context.Context, o Options) ([]App, error) {
	var entries []any
	err := c.each(ctx, "browse", o.Type, o.request(cmdBrowse), func(m plist.Dict) (bool, error) {
		list, _ := m.Array("CurrentList")
		if len(entries)+len(list) > MaxApps {
			return false, fmt.Errorf("%w: more than %d apps", ErrProtocol, MaxApps)
		}
		entries = append(entries, list...)
		status, _ := m.String("Status")
		if len(list) == 0 && status != statusComplete && status != statusBrowsing {
			return false, fmt.Errorf("%w: status %q", ErrProtocol, status)
		}
		return status == statusComplete, nil
	})
	if err != nil {
		return nil, err
	}
	apps, err := link.DecodeList(ctx, entries, decodeApp)
	if err != nil {
		return nil, errs.New("browse", o.Type, err)
	}
	return apps, nil
}

// Lookup returns the apps by bundle identifier. Apps that the device does not
// have, and those that cannot be decoded, are absent.
func (c *Client) Lookup(ctx context.Context, o Options) (map[string]App, error) {
	result, err := c.single(ctx, "lookup", strings.Join(o.BundleIDs, " "), o.request(cmdLookup))
	if err != nil {
		return nil, err
	}
	found, ok := result.(plist.Dict)
	if !ok || len(found) > MaxApps {
		return nil, errs.New("lookup", "",
			fmt.Errorf("%w: LookupResult is a %s", ErrProtocol, plist.TypeName(result)))
	}
	apps := make(map[string]App, len(found))
	ids := slices.Sorted(maps.Keys(found))
	_, err = link.DecodeList(ctx, ids, func(id string) (App, error) {
		a, err := decodeApp(found[id])
		if err != nil {
			return App{}, errs.New("lookup", id, err)
		}
		if a.BundleID == "" {
			a.BundleID = id
		}
		apps[id] = a
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return apps, nil
}

// App returns one app. The error wraps ErrNoApp (and is fs.ErrNotExist) when
// the device does not have it.
func (c *Client) App(ctx context.Context, bundleID string, attributes ...string) (*App, error) {
	apps, err := c.Lookup(ctx,
		Options{Type: Any, BundleIDs: []string{bundleID}, Attributes: slices.Clone(attributes)})
	if err != nil {
		return nil, err
	}
	a, ok := apps[bundleID]
	if !ok {
		return nil, errs.New("lookup", bundleID, ErrNoApp)
	}
	return &a, nil
}

// CheckCapabilities reports whether the device has all capabilities, named as
// in an app's UIRequiredDeviceCapabilities ("arm64", "telephony").
func (c *Client) CheckCapabilities(ctx context.Context, names ...string) (bool, error) {
	const op = "check capabilities"
	req := plist.Dict{
		"Command": cmdCapabilities, "ClientOptions": plist.Dict{}, "Capabilities": anyList(names),
	}
	result, err := c.single(ctx, op, strings.Join(names, " "), req)
	if err != nil {
		return false, err
	}
	match, ok := result.(bool)
	if !ok {
		return false, errs.New(op, "",
			fmt.Errorf("%w: LookupResult is a %s", ErrProtocol, plist.TypeName(result)))
	}
	return match, nil
}

// single makes an exchange whose answer is one message and returns its
// LookupResult.
func (c *Client) single(ctx context.Context, op, subject string, req plist.Dict) (any, error) {
	var result any
	err := c.each(ctx, op, subject, req, func(m plist.Dict) (bool, error) {
		v, ok := m["LookupResult"]
		if !ok {
			status, _ := m.String("Status")
			return false, fmt.Errorf("%w: no LookupResult, status %q", ErrProtocol, status)
		}
		result = v
		return true, nil
	})
	return result, err
}
