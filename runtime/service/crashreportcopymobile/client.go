package crashreportcopymobile

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path"

	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Client is an AFC client; Reports and Clear take it among the crash reports.
type Client = afc.Client

// Connect opens the service.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return afc.ConnectTo(ctx, o, Service)
}

// New returns a client on a connection to the service.
func New(c net.Conn) *Client { return afc.New(c) }

// Reports lists all files, also those in directories such as Retired, by path.
func Reports(ctx context.Context, c *Client) ([]Report, error) {
	var out []Report
	err := c.Walk(ctx, "/", func(file string, info afc.Info, err error) error {
		if errors.Is(err, fs.ErrPermission) && file != "/" {
			return nil
		}
		if err == nil && info.Kind == afc.Regular {
			out = append(out, Report{Path: file, Process: processOf(file), Time: info.ModTime, Size: info.Size})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Clear removes all reports. What goes meanwhile, and what the device is known
// to keep, is no error.
func Clear(ctx context.Context, c *Client) error {
	names, err := c.ReadDir(ctx, "/")
	if err != nil {
		return err
	}
	return clearNames(ctx, c, names)
}

func clearNames(ctx context.Context, c *Client, names []string) error {
	for _, name := range names {
		err := c.RemoveAll(ctx, path.Join("/", name))
		var refused *afc.Error
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case kept(name) && errors.As(err, &refused) && refused.Status != afc.Success:
		default:
			return err
		}
	}
	return nil
}
