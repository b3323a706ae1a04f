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

// Client is an AFC client. Reports and Clear take one that is connected to the crash
// reports.
type Client = afc.Client

// Connect opens the service.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return afc.ConnectTo(ctx, o, Service)
}

// New returns a client on a connection to the service.
func New(c net.Conn) *Client { return afc.New(c) }

// Reports lists all files in the order of their paths, including those in directories
// such as Retired. It also returns what the device refused to list or describe.
func Reports(ctx context.Context, c *Client) ([]Report, []afc.Skip, error) {
	var out []Report
	var skipped []afc.Skip
	err := c.Walk(ctx, "/", func(file string, info afc.Info, err error) error {
		switch {
		case err != nil && file != "/" && afc.Passable(err):
			skipped = append(skipped, afc.Skip{Path: file, Err: err})
			return nil
		case err == nil && info.Odd != nil:
			skipped = append(skipped, afc.Skip{Path: file, Err: info.Odd})
		case err == nil && info.Kind == afc.Regular:
			out = append(out,
				Report{Path: file, Process: processOf(file), Time: info.ModTime, Size: info.Size})
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return out, skipped, nil
}

// Clear removes all reports. It ignores files that have gone in the meantime and files
// that devices are known to keep.
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
