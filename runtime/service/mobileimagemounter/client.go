package mobileimagemounter

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/service"
)

var exchanges = service.Exchanges{
	Errors: &errs, Max: MaxAnswer, Timeout: 60 * time.Second, Refusal: refusal,
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

// Lookup reports whether an image of the given type (TypeDeveloper, TypePersonalized)
// is mounted. It fails with ErrDeviceLocked while the device is locked.
func (c *Client) Lookup(ctx context.Context, imageType string) (*Lookup, error) {
	const op = "look up"
	d, err := c.Call(ctx, op, imageType, plist.Dict{"Command": cmdLookup, "ImageType": imageType})
	if err != nil {
		return nil, err
	}
	l, err := decodeLookup(ctx, d)
	if err != nil {
		return nil, errs.New(op, imageType, err)
	}
	return l, nil
}

// Images lists the disk images of the device, developer images and others. On old
// versions it fails with ErrUnknownCommand; Lookup works there.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	const op = "list images"
	d, err := c.Call(ctx, op, "", plist.Dict{"Command": cmdCopyDevices})
	if err != nil {
		return nil, err
	}
	images, err := decodeImages(ctx, d)
	if err != nil {
		return nil, errs.New(op, "", err)
	}
	return images, nil
}

// DeveloperMode reports whether Developer Mode is on. Before iOS 16, which introduced
// it, the call fails with ErrUnknownCommand.
func (c *Client) DeveloperMode(ctx context.Context) (bool, error) {
	const op = "ask for developer mode"
	d, err := c.Call(ctx, op, "", plist.Dict{"Command": cmdModeStatus})
	if err != nil {
		return false, err
	}
	on, ok := d.Bool("DeveloperModeStatus")
	if !ok {
		return false, errs.New(op, "", fmt.Errorf("%w: no DeveloperModeStatus", ErrProtocol))
	}
	return on, nil
}

// PersonalizationIdentifiers returns the identifiers of the device that a ticket is
// issued for: BoardId, ChipID, UniqueChipID and others. Before iOS 17 it fails with
// ErrUnknownCommand.
func (c *Client) PersonalizationIdentifiers(ctx context.Context) (plist.Dict, error) {
	const op = "ask for identifiers"
	d, err := c.Call(ctx, op, "", plist.Dict{"Command": cmdIdentifiers})
	if err != nil {
		return nil, err
	}
	ids, ok := d.Dict("PersonalizationIdentifiers")
	if !ok {
		return nil, errs.New(op, "", fmt.Errorf("%w: no PersonalizationIdentifiers", ErrProtocol))
	}
	return ids, nil
}

// Hangup ends the exchange. The device answers and then closes the connection.
func (c *Client) Hangup(ctx context.Context) error {
	_, err := c.Call(ctx, "hang up", "", plist.Dict{"Command": cmdHangup})
	return err
}
