package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/tunneld"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// world holds what is needed to find devices. It is empty until a device is needed, so that a
// script without a device opens nothing.
type world struct {
	mu     sync.Mutex
	finder *device.Finder
	host   *virtual.Host
	told   map[string]bool // devices for which trustDialog has written its notice
	warned map[string]bool // warnings of the Finder that have been written
	choice choice
}

// finder returns the Finder of this run.
func (c *cli) finder() (*device.Finder, error) {
	w := &c.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finder != nil {
		return w.finder, nil
	}
	o := device.Options{
		OnTrustDialog: c.trustDialog, PIN: c.askPIN, NoPair: c.flags.noPair,
		OnWarning: c.warnOnce, Logger: c.logger(),
	}
	o.HostName, _ = c.hostName()
	o.Direct = c.direct()
	if c.flags.virtual == "" {
		o.Stores, o.RemoteStores = c.stores(), c.remoteStores()
		o.Browser = c.browser(c.logger())
	}
	if o.Direct != nil {
		o.Host = c.hostIdentity
		w.finder = device.NewFinder(o)
		return w.finder, nil
	}
	if c.namedMuxer() {
		o.OnMuxerError = c.deadMuxer
	}
	if c.flags.virtual != "" {
		h, err := virtual.NewHost(virtual.HostOptions{
			Count:  1,
			Device: virtual.Options{Phone: phone.Options{Profile: c.flags.virtual}},
			Logger: c.logger(),
		})
		if err != nil {
			return nil, err
		}
		m, err := c.plugIn(h)
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
		w.host = h
		o.Muxers, o.Browser = append(o.Muxers, m), h
	}
	for _, address := range c.addresses() {
		m, err := usbmux.New(usbmux.Options{Address: address, Logger: c.logger()})
		if err != nil {
			return nil, usageError("%v", err)
		}
		o.Muxers = append(o.Muxers, m)
		o.Stores, o.RemoteStores, o.Host = c.stores(), c.remoteStores(), c.hostIdentity
	}
	w.finder = device.NewFinder(o)
	return w.finder, nil
}

// direct returns a function that finds the lists of services that --rsd or --tunnel name. It
// returns nil if neither flag is given.
func (c *cli) direct() func(context.Context) ([]device.Direct, error) {
	switch {
	case c.flags.rsd != "":
		host, port, _ := splitHost(c.flags.rsd) // no error: checkRoutes has checked it
		return func(context.Context) ([]device.Direct, error) {
			return []device.Direct{device.DirectTo(host, port)}, nil
		}
	case c.flags.tunnel.given:
		return c.otherTunnels
	}
	return nil
}

// otherTunnels asks a tunneld, of imdlua or another program, for its tunnels. If it has no tunnel
// to the device that --tunnel names, otherTunnels asks it to make one.
func (c *cli) otherTunnels(ctx context.Context) ([]device.Direct, error) {
	client := &tunneld.Client{
		Address: c.flags.tunneldAddress(), Token: c.tunneldToken(), Logger: c.logger(),
	}
	list, err := client.List(ctx)
	if err != nil {
		return nil, c.tunneldError(err)
	}
	if wanted := c.flags.tunnel.value; wanted != "" {
		list = slices.DeleteFunc(list,
			func(e tunneld.Entry) bool { return !tunneld.SameUDID(wanted, e.UDID) })
		if len(list) == 0 {
			e, err := client.Start(ctx, wanted)
			if err != nil {
				e := host.Errorf("no_device", "the tunneld at %s has no tunnel to %s: %v",
					client.Address, wanted, err)
				e.Cause = fmt.Errorf("%w: %w", device.ErrNotFound, err) // callers may try again
				return nil, e.WithHint("imdlua devices --tunnel lists the tunnels that it has")
			}
			list = append(list, e)
		}
	}
	var out []device.Direct
	for _, e := range list {
		out = append(out, device.Direct{
			Name:    string(e.API) + " " + client.Address,
			Address: netip.AddrPortFrom(e.Address, e.RSDPort).String(),
			Port:    e.RSDPort, Dial: e.Dial,
		})
	}
	return out, nil
}

// tunneldError adds a hint to the error of a tunneld that refuses the token or does not answer.
func (c *cli) tunneldError(err error) error {
	var refused *net.OpError
	e := &host.Error{Message: err.Error(), Cause: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = "unauthorized", "set IMD_TUNNELD_TOKEN to the token of that tunneld"
	case errors.As(err, &refused) && refused.Op == "dial":
		e.Code = "no_device"
		e.Hint = "start one with `imdlua tunneld`, or give its address with --tunneld"
	default:
		return err
	}
	return e
}

// tunneldToken returns the token that a tunneld on another computer requires.
func (c *cli) tunneldToken() string {
	t, _ := c.env("IMD_TUNNELD_TOKEN")
	return t
}

// plugIn returns a client for the muxer of h, in memory.
func (c *cli) plugIn(h *virtual.Host) (*usbmux.Client, error) {
	return usbmux.New(usbmux.Options{Address: "virtual", Dial: h.Dial, Logger: c.logger()})
}

// addresses returns the addresses of the muxers: those of --usbmux, or none if there is a virtual
// device, or else that of the environment, where "" means the default of the platform.
func (c *cli) addresses() []string {
	if len(c.flags.usbmux) > 0 {
		return c.flags.usbmux
	}
	if c.flags.virtual != "" {
		return nil
	}
	address, _ := c.env("USBMUXD_SOCKET_ADDRESS")
	return []string{address}
}

// namedMuxer reports whether the user has named a muxer.
func (c *cli) namedMuxer() bool {
	address, _ := c.env("USBMUXD_SOCKET_ADDRESS")
	return len(c.flags.usbmux) > 0 || address != "" && c.flags.virtual == ""
}

// deadMuxer tells the user, once, that a muxer does not answer.
func (c *cli) deadMuxer(address string, err error) {
	c.warnOnce(fmt.Sprintf("the muxer at %s does not answer", address), err)
}

// warnOnce writes a warning of the Finder unless it has been written. The texts that are
// remembered are bounded.
func (c *cli) warnOnce(text string, err error) {
	w := &c.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.warned[text] || len(w.warned) >= maxWarnings {
		return
	}
	if w.warned == nil {
		w.warned = map[string]bool{}
	}
	w.warned[text] = true
	if err != nil {
		text = fmt.Sprintf("%s: %v", text, err)
	}
	c.notice("%s", text)
}

// maxWarnings bounds the warnings of a run.
const maxWarnings = 1000

// stores returns the folders of pair records, for records that a muxer does not return.
func (c *cli) stores() []pair.Store {
	stores := []pair.Store{pair.NewDir(pair.SystemDir(runtime.GOOS, c.env))}
	if own := pair.OwnDir(runtime.GOOS, c.env); own != "" {
		stores = append(stores, pair.NewDir(own))
	}
	return stores
}

// remoteStores returns the folders of the records of remote pairing: that of imdlua and that of
// pymobiledevice3.
func (c *cli) remoteStores() []device.RemoteStore {
	var stores []device.RemoteStore
	for _, dir := range []string{
		remotepair.OwnDir(runtime.GOOS, c.env), remotepair.SharedDir(runtime.GOOS, c.env),
	} {
		if dir != "" {
			stores = append(stores, remotepair.NewDir(dir))
		}
	}
	return stores
}

// stateFile returns the path of a file in the user's configuration folder, "" if the environment
// does not name that folder.
func (c *cli) stateFile(name string) string {
	own := pair.OwnDir(runtime.GOOS, c.env)
	if own == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(own), name)
}

// firstScripted is the phone.Options.Serial of the first virtual device that a script adds to the
// devices of this computer. The command virtual may serve others there, which begin at 0.
const firstScripted = 50_000

// virtualHost returns the muxer of this process to which scripts connect virtual devices.
func (c *cli) virtualHost() (*virtual.Host, error) {
	f, err := c.finder()
	if err != nil {
		return nil, err
	}
	w := &c.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.host != nil {
		return w.host, nil
	}
	h, err := virtual.NewHost(virtual.HostOptions{
		Device: virtual.Options{Phone: phone.Options{Serial: firstScripted}}, Logger: c.logger(),
	})
	if err != nil {
		return nil, err
	}
	m, err := c.plugIn(h)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	f.AddMuxer(m)
	f.AddBrowser(h)
	w.host = h
	return h, nil
}

func (w *world) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	if w.finder != nil {
		errs = append(errs, w.finder.Close())
		w.finder = nil
	}
	if w.host != nil {
		errs = append(errs, w.host.Close())
		w.host = nil
	}
	return errors.Join(errs...)
}

// trustDialog tells the user how to answer the Trust dialog, once for each device.
func (c *cli) trustDialog(i device.Info) {
	w := &c.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told[i.UDID] {
		return
	}
	if w.told == nil {
		w.told = map[string]bool{}
	}
	w.told[i.UDID] = true
	name := visible.Line(i.UDID)
	if i.Name != "" {
		name = fmt.Sprintf("%s (%s)", visible.Line(i.Name), name)
	}
	c.notice("%s asks whether to trust this computer.", name)
	fmt.Fprintln(c.stderr,
		"  Unlock it, tap Trust on its screen and enter its passcode; waiting...")
}

// timed limits ctx to --timeout, or to otherwise if the flag is not given. 0 means no limit.
func (c *cli) timed(
	ctx context.Context, otherwise time.Duration,
) (context.Context, context.CancelFunc) {
	d := time.Duration(c.flags.timeout)
	if d == 0 {
		d = otherwise
	}
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// readFile reads a file that the user has named.
func readFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", usageError("%v", err)
	}
	return string(b), nil
}
