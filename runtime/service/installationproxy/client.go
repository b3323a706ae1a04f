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

// A device needs some time to compute the disk usage of many apps.
var exchanges = service.Exchanges{
	Errors: &errs, Max: MaxAnswer, Timeout: 2 * time.Minute, Refusal: refusal,
}

// Client is a connection to the service. Goroutines may share it; it makes one exchange
// at a time.
type Client struct{ service.Caller }

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service. Close closes c.
func New(c net.Conn) *Client { return &Client{exchanges.Caller(c)} }

// refusal returns the error that a message holds, or nil if it holds none.
func refusal(op, subject string, m plist.Dict) error {
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

// Browse returns the apps in the order of the device. It leaves out entries that cannot
// be decoded, see link.PassOver.
func (c *Client) Browse(ctx context.Context, o Options) ([]App, error) {
	var entries []any
	err := c.Each(ctx, "browse", o.Type, o.request(cmdBrowse), func(m plist.Dict) (bool, error) {
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

// Lookup returns the apps by bundle identifier. The result lacks apps that the device
// does not have and apps that cannot be decoded.
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

// App returns one app. If the device does not have it, the error wraps ErrNoApp, which
// matches fs.ErrNotExist.
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

// CheckCapabilities reports whether the device has all the given capabilities. Their
// names are those of UIRequiredDeviceCapabilities, such as "arm64" and "telephony".
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

// single makes an exchange whose answer is one message and returns the LookupResult of
// the message.
func (c *Client) single(ctx context.Context, op, subject string, req plist.Dict) (any, error) {
	var result any
	err := c.Each(ctx, op, subject, req, func(m plist.Dict) (bool, error) {
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
