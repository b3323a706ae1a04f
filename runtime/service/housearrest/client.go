package housearrest

import (
	"context"
	"fmt"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Client is a connection to house_arrest on which one container can be opened.
type Client struct {
	conn net.Conn
	used bool
}

// Connect opens the service. It is good for one command.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	c, err := o.Open(ctx, Service)
	if err != nil {
		return nil, errs.New("connect", "", err)
	}
	return New(c), nil
}

// New returns a client on a connection to the service.
func New(c net.Conn) *Client { return &Client{conn: c} }

// Close closes the connection, unless it has gone over to an afc.Client.
func (c *Client) Close() error {
	if c.used {
		return nil
	}
	c.used = true
	return c.conn.Close()
}

// VendContainer connects and opens the whole container of an app; see
// Client.VendContainer.
func VendContainer(ctx context.Context, o service.Opener, bundleID string) (*afc.Client, error) {
	c, err := Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.VendContainer(ctx, bundleID)
}

// VendDocuments connects and opens the documents of an app; see
// Client.VendDocuments.
func VendDocuments(ctx context.Context, o service.Opener, bundleID string) (*afc.Client, error) {
	c, err := Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.VendDocuments(ctx, bundleID)
}

// VendContainer opens the whole container of an app signed for development.
// The connection goes over to the returned client, and is closed on error.
func (c *Client) VendContainer(ctx context.Context, bundleID string) (*afc.Client, error) {
	return c.vend(ctx, "vend container", vendContainer, bundleID)
}

// VendDocuments opens the container of an app with file sharing, where only
// Documents and what is below can be reached. The connection goes over to the
// returned client, and is closed on error.
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
	_ = c.conn.Close() // the first failure counts
	return nil, failure
}
