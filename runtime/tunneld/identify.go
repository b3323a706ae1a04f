package tunneld

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
)

// Identity describes the program that answers at an address.
type Identity struct {
	// API is the API that it speaks. It is "" if that is unknown, or if Ours is true
	// and the server requires a token.
	API API
	// Ours is true for a server of this package.
	Ours bool
}

// String returns a description for an error message, such as "pymobiledevice3 tunneld".
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

// Identify returns which program answers at address, HOST:PORT. It is for the error
// message of a server whose port is in use.
func Identify(ctx context.Context, address string) (Identity, error) {
	return (&Client{Address: address}).Identify(ctx)
}

// Identify returns which program answers. A program that does not speak HTTP, or does
// not answer in time, has the zero Identity. It returns an error if nothing listens at
// the address.
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

// ask returns nil if the answer is not HTTP or does not come in time.
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
