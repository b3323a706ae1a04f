package housearrest

import (
	"context"
	"fmt"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Client is a connection to house_arrest. It can open one container.
type Client struct {
	conn net.Conn
	used bool
}

// Connect opens the service. The connection serves one command.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service.
func New(c net.Conn) *Client { return &Client{conn: c} }

// Close closes the connection, unless an afc.Client has taken it over.
func (c *Client) Close() error {
	if c.used {
		return nil
	}
	c.used = true
	return c.conn.Close()
}

// VendContainer connects to the service and opens the whole container of an app. See
// Client.VendContainer.
func VendContainer(ctx context.Context, o service.Opener, bundleID string) (*afc.Client, error) {
	c, err := Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.VendContainer(ctx, bundleID)
}

// VendDocuments connects to the service and opens the documents of an app. See
// Client.VendDocuments.
func VendDocuments(ctx context.Context, o service.Opener, bundleID string) (*afc.Client, error) {
	c, err := Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.VendDocuments(ctx, bundleID)
}

// VendContainer opens the whole container of an app that is signed for development. The
// returned client takes over the connection. On error the connection is closed.
func (c *Client) VendContainer(ctx context.Context, bundleID string) (*afc.Client, error) {
	return c.vend(ctx, "vend container", vendContainer, bundleID)
}

// VendDocuments opens the container of an app that has file sharing enabled. Only
// Documents and what is below it can be accessed. The returned client takes over the
// connection. On error the connection is closed.
func (c *Client) VendDocuments(ctx context.Context, bundleID string) (*afc.Client, error) {
	return c.vend(ctx, "vend documents", vendDocuments, bundleID)
}

func (c *Client) vend(ctx context.Context, op, command, bundleID string) (*afc.Client, error) {
	if bundleID != "" {
		op += " of"
	}
	if c.used {
		return nil, errs.New(op, bundleID, net.ErrClosed)
	}
	c.used = true
	p := &link.PlistConn{Conn: c.conn, Max: maxFrame}
	var r response
	err := p.Call(ctx, request{command, bundleID}, &r)
	var failure *service.Error
	switch {
	case err != nil:
		failure = errs.New(op, bundleID, err)
	case r.Error != "":
		failure = errs.Refused(op, bundleID, r.Error, "")
	case r.Status != complete:
		failure = errs.New(op, bundleID, fmt.Errorf("%w: status %q", errStatus, r.Status))
	default:
		return afc.New(c.conn), nil
	}
	_ = c.conn.Close() // the first error is returned
	return nil, failure
}
