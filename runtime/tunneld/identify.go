package tunneld

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
)

// Identity says what answers at an address.
type Identity struct {
	// API is what it speaks; "" when that is none of the known ones or, with
	// Ours, when it wants a token.
	API API
	// Ours is true for a server of this package.
	Ours bool
}

// String says it as an error message would: "pymobiledevice3 tunneld".
func (i Identity) String() string {
	switch {
	case i.Ours && i.API == "":
		return "imdlua (wants a token)"
	case i.Ours:
		return "imdlua (" + string(i.API) + " API)"
	}
	switch i.API {
	case Python:
		return "pymobiledevice3 tunneld"
	case GoIOS:
		return "go-ios agent"
	case Appium:
		return "appium tunnel registry"
	}
	return "unknown program"
}

// Identify tells who answers at address, HOST:PORT, for the message of a server
// whose port is taken.
func Identify(ctx context.Context, address string) (Identity, error) {
	return (&Client{Address: address}).Identify(ctx)
}

// Identify tells who answers. A program that does not speak HTTP, or says
// nothing, is unknown; that nobody listens is an error.
func (c *Client) Identify(ctx context.Context) (Identity, error) {
	var id Identity
	for _, q := range []struct {
		path, then string
		api        API
		is         func([]byte) bool
	}{
		{path: "/hello", api: Python, is: isHello},
		{path: "/health", then: "/tunnels", api: GoIOS, is: isTunnels},
		{path: registryPath, api: Appium, is: isRegistry},
	} {
		a, err := c.ask(ctx, q.path)
		if err == nil && a != nil {
			id.Ours = id.Ours || a.server == serverName
			if a.status == http.StatusOK && q.then != "" {
				a, err = c.ask(ctx, q.then)
			}
		}
		if err != nil {
			return Identity{}, &Error{Op: "identify", Address: c.Address, Err: err}
		}
		if a == nil {
			return id, nil
		}
		if a.status == http.StatusOK && q.is(a.body) {
			id.API = q.api
			return id, nil
		}
	}
	return id, nil
}

// ask returns nil when there is an answer that is not HTTP, or none in time.
func (c *Client) ask(ctx context.Context, path string) (*answer, error) {
	a, err := c.get(ctx, path, identifyTimeout)
	if err == nil {
		return a, nil
	}
	var op *net.OpError
	var bad *net.AddrError
	if ctx.Err() != nil || errors.As(err, &op) && op.Op == "dial" || errors.As(err, &bad) {
		return nil, err
	}
	return nil, nil
}

func isHello(b []byte) bool {
	var hello struct{ Message string }
	return json.Unmarshal(b, &hello) == nil && hello.Message != ""
}

func isTunnels(b []byte) bool {
	_, err := decodeTunnels(b)
	return err == nil
}

func isRegistry(b []byte) bool {
	_, err := decodeRegistry(b)
	return err == nil
}
