package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/savefile"
	"github.com/imdlua/imdlua/runtime/tunneld"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// maxToken is the length of the longest token in a file.
const maxToken = 1 << 10

// registerProxy registers the flag with the address of a proxy.
func registerProxy(flags *pflag.FlagSet, address *string) {
	flags.StringVar(address, "proxy", "",
		"`address` of a proxy for SOCKS5 and HTTP CONNECT, at which every port is reached")
}

// outlets are the proxy and the muxers at which other programs reach devices.
type outlets struct {
	proxy     net.Listener // nil if there is none
	token     string
	tokenFile string // "" if the token is in the environment
	muxers    []net.Listener
	addresses []string // of the muxers, as the user gave them

	work   sync.WaitGroup
	failed chan error
}

// openOutlets listens at the address of a proxy, unless it is "", and at those of muxers.
func (c *cli) openOutlets(ctx context.Context, proxy string, muxers []string) (*outlets, error) {
	o := &outlets{addresses: muxers, failed: make(chan error, 1+len(muxers))}
	var err error
	if proxy != "" {
		o.token, o.tokenFile, err = c.proxyToken()
		if err != nil {
			return nil, err
		}
		o.proxy, err = c.listenProxy(ctx, proxy)
		if err != nil {
			return nil, err
		}
	}
	o.muxers, err = link.ListenAll(muxers, func(a string) (net.Listener, error) {
		return listenMuxer(ctx, a)
	})
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// listenProxy listens at the address of a proxy. The token in a file is for this computer.
func (c *cli) listenProxy(ctx context.Context, address string) (net.Listener, error) {
	l, err := link.Listen(ctx, "tcp", address)
	if err == nil && c.tunneldToken() == "" && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		l.Close()
		e := usageError("%s can be reached from other computers, and the proxy encrypts nothing",
			address)
		return nil, e.WithHint("set IMD_TUNNELD_TOKEN, or listen on 127.0.0.1")
	}
	return l, err
}

// checkMuxer returns an error if the muxer that is to listen at an address is one of those whose
// devices it is to have.
func (c *cli) checkMuxer(address string) error {
	network, at, err := usbmux.ParseAddress(address)
	if err != nil {
		return usageError("--muxer: %v", err)
	}
	for _, a := range c.addresses() {
		if a == "" {
			a = usbmux.DefaultAddress(runtime.GOOS)
		}
		n, other, err := usbmux.ParseAddress(a)
		if err == nil && n == network && other == at {
			return usageError("--muxer %s is the usbmuxd whose devices it is to have", address).
				WithHint("name another address, and --usbmux for that usbmuxd")
		}
	}
	return nil
}

// proxyToken returns the token of the proxy: that of the environment, or else that of a file of
// the user, which is made if it does not exist.
func (c *cli) proxyToken() (token, file string, err error) {
	if t := c.tunneldToken(); t != "" {
		return t, "", nil
	}
	file = c.stateFile("proxy-token")
	if file == "" {
		return "", "", usageError("the proxy needs a token, and there is no folder for its file").
			WithHint("set IMD_TUNNELD_TOKEN")
	}
	token, err = readToken(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = savefile.NewPrivate(file, []byte(rand.Text()+"\n"))
		if err == nil || errors.Is(err, fs.ErrExist) {
			token, err = readToken(file)
		}
	}
	return token, file, err
}

// readToken reads a file that only the user may read.
func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := st.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return "", usageError("%s can be read by other users (mode %04o)", file, mode).
			WithHint("delete the file; the next run makes a new one")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken))
	token := strings.TrimSpace(string(b))
	if err == nil && token == "" {
		return "", usageError("%s has no token", file).
			WithHint("delete the file; the next run makes a new one")
	}
	return token, err
}

// close closes the listeners.
func (o *outlets) close() {
	link.CloseAll(o.muxers)
	if o.proxy != nil {
		o.proxy.Close()
	}
}

// tell prints the addresses, one a line.
func (o *outlets) tell(w io.Writer) {
	if o.proxy != nil {
		fmt.Fprintf(w, "proxy %s", o.proxy.Addr())
		if o.tokenFile != "" {
			fmt.Fprintf(w, " %s", o.tokenFile)
		}
		fmt.Fprintln(w)
	}
	for i, l := range o.muxers {
		fmt.Fprintf(w, "muxer %s\n", shownAddress(o.addresses[i], l))
	}
}

// dialer connects to a port of the device that a host name stands for.
type dialer = func(ctx context.Context, host string, port uint16) (net.Conn, error)

// serve serves other programs until ctx ends. If that fails, it calls end.
func (o *outlets) serve(
	ctx context.Context, end func(), c *cli, dial dialer, sharing *device.Sharing,
) {
	run := func(serve func() error) {
		o.work.Go(func() {
			if err := serve(); err != nil {
				o.failed <- err
				end()
			}
		})
	}
	if o.proxy != nil {
		p := &tunneld.Proxy{Dial: dial, Token: o.token, Logger: c.logger()}
		run(func() error { return p.Serve(ctx, o.proxy) })
	}
	for _, l := range o.muxers {
		run(func() error { return sharing.Serve(ctx, l) })
	}
}

// wait waits until nothing is served any more, and returns the error for which serving has ended.
func (o *outlets) wait() error {
	o.work.Wait()
	select {
	case err := <-o.failed:
		return err
	default:
		return nil
	}
}

// errNoSuchHost is the error for a host name that stands for no device.
var errNoSuchHost = fmt.Errorf("the host name is not the UDID of a device: %w", fs.ErrNotExist)

// dialKept connects to a device that tunneld knows: in its tunnel if there is one, and on another
// route otherwise. A host name is a UDID, or the address of the device in its tunnel.
func (c *cli) dialKept(finder *device.Finder, keeper *device.Keeper, network bool) dialer {
	return func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		address, _ := netip.ParseAddr(host)
		for _, k := range keeper.Tunnels() {
			if tunneld.SameUDID(k.UDID, host) ||
				address.IsValid() && address == k.Tunnel.Address.WithZone("") {
				return k.Tunnel.Dial(ctx, port)
			}
		}
		s := c.flags.selector()
		if !isUDID(host) || s.UDID != "" && !tunneld.SameUDID(s.UDID, host) {
			return nil, errNoSuchHost
		}
		s.UDID, s.Network = host, network
		d, err := finder.Find(ctx, s)
		if errors.Is(err, device.ErrNotFound) {
			return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		if err != nil {
			return nil, err
		}
		return d.Connect(ctx, port)
	}
}

// dialTunnel connects to the device of the command tunnel.
func dialTunnel(d *device.Device) dialer {
	return func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		t := d.Tunneled()
		if t == nil {
			return nil, errors.New("the tunnel is down")
		}
		address, _ := netip.ParseAddr(host)
		if !tunneld.SameUDID(d.UDID(), host) &&
			!(address.IsValid() && address == t.Address.WithZone("")) {
			return nil, errNoSuchHost
		}
		return t.Dial(ctx, port)
	}
}
