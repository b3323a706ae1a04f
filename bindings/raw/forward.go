package raw

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/imdlua/imdlua/bindings/device"
	core "github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/visible"
	"github.com/imdlua/imdlua/runtime/link"
)

// Forward is a local port that is forwarded to a port of the device.
type Forward struct {
	*core.Forward
	remote uint16
}

func (f *Forward) localPort() int { return f.Addr().(*net.TCPAddr).Port }

type forwardOptions struct {
	Remote  uint16 `lua:"remote_port" doc:"port of the device"`
	Local   uint16 `lua:"local_port" doc:"port of this computer; a free one when left out"`
	Address string `lua:"address" doc:"address to listen on; * for all" default:"127.0.0.1"`
}

func forward(
	c *api.Call, d *device.Device, o forwardOptions,
) (api.Opened[*Forward], error) {
	var none api.Opened[*Forward]
	if o.Remote == 0 {
		return none, c.ArgError(1, "remote_port is missing")
	}
	if o.Address == "" {
		o.Address = "127.0.0.1"
	}
	at := net.JoinHostPort(o.Address, strconv.Itoa(int(o.Local)))
	if err := c.Allow(host.AccessHost, at); err != nil {
		return none, err
	}
	stderr := c.Host().Stderr()
	f, err := api.Open(c, func(ctx context.Context) (*Forward, error) {
		l, err := link.Listen(ctx, "tcp", at)
		if err != nil {
			return nil, err
		}
		failed := func(err error) {
			fmt.Fprintf(stderr, "forward to port %d: %s\n", o.Remote, visible.Marked(err.Error()))
		}
		return &Forward{d.Forward(l, o.Remote, failed), o.Remote}, nil
	})
	if link.Is(err, syscall.EADDRINUSE) {
		return none, host.Errorf("address_in_use", "forward: port %d of %s is in use",
			o.Local, o.Address)
	}
	return f, err
}

func forwardClass() *api.Class {
	c := api.NewClass[*Forward]("Forward", "A port of this computer that is forwarded to a port of the "+
		"device.")
	c.Var, c.Closer = "fwd", true
	c.String = func(f *Forward) string {
		return fmt.Sprintf("Forward<%s -> %d, %d open>", f.Addr(), f.remote, f.Open())
	}
	c.Fields = []*api.Field{
		api.Property("local_port", "port of this computer",
			func(f *Forward) int { return f.localPort() }),
		api.Property("remote_port", "port of the device",
			func(f *Forward) int { return int(f.remote) }),
		api.Property("connections", "how many connections there were so far",
			func(f *Forward) int { return f.Total() }),
	}
	return c
}
