package main

import (
	"time"

	"github.com/imdlua/imdlua/bindings"
	bindingdevice "github.com/imdlua/imdlua/bindings/device"
	bindingvirtual "github.com/imdlua/imdlua/bindings/virtual"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib"
)

// newHost returns a Host with the script library and the device API. Nothing that takes time is
// done before a script needs it.
func (c *cli) newHost(o host.Options) (*host.Host, error) {
	o.Env, o.Logger, o.Color = c.env, c.logger(), c.color(c.stderrTTY)
	o.Terminal = c.terminal()
	o.Verbose, o.ErrorsJSON = c.flags.verbose, c.flags.errorsJSON()
	o.MaxMemory, o.MaxString = uint64(c.flags.maxMemory), int64(c.flags.maxString)
	o.MaxInstructions = uint64(c.flags.maxInstructions)
	if o.Timeout == 0 {
		o.Timeout = time.Duration(c.flags.timeout)
	}
	h := host.New(o)
	err := stdlib.Install(h)
	if err == nil {
		err = bindings.Install(h, &bindings.Env{
			Device: bindingdevice.Env{
				Finder: c.finder, Selector: c.flags.selector(), Choose: c.choose,
			},
			Virtual: bindingvirtual.Env{Host: c.virtualHost},
		})
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// terminal describes the terminal for scripts.
func (c *cli) terminal() host.Terminal {
	name, _ := c.env("TERM")
	return host.Terminal{
		Stdin: c.stdinTTY, Stdout: c.stdoutTTY, Stderr: c.stderrTTY,
		Dumb: name == "dumb", Color: c.color(c.stdoutTTY), Width: c.width,
	}
}

// mapError returns the error that scripts get for an error of the protocol packages, nil if it does
// not know the error.
func mapError(err error) *host.Error { return bindingdevice.MapError(nil)(err) }
