package device

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// browseTime bounds the wait for answers of devices on the network.
	browseTime = 2 * time.Second
	// identifyTime bounds the identification of what was found.
	identifyTime = 3 * time.Second
	// searchTime bounds a whole search. maxAsked and askedAtOnce limit what is asked in
	// it, because anybody on the network can advertise anything.
	searchTime  = browseTime + 2*identifyTime
	maxAsked    = 1024
	askedAtOnce = 32
	// Keep-alive of connections over a network. With it, the loss of a device is
	// noticed within seconds instead of hours.
	keepAliveIdle     = 5 * time.Second
	keepAliveInterval = 3 * time.Second
	keepAliveCount    = 3

	trustedLockdown   = "com.apple.mobile.lockdown.remote.trusted"
	untrustedLockdown = "com.apple.mobile.lockdown.remote.untrusted"
)

// Direct is a list of services that can be reached directly, through a tunnel that
// another program keeps or at an address that the user gave.
type Direct struct {
	Name    string // shown to users, such as "tunneld 127.0.0.1:49151"; may be ""
	Address string // host:port of the list
	Port    uint16
	Dial    rsd.DialFunc
}

// networkSearch is a search of the network that runs while the muxers are asked.
type networkSearch struct {
	finder *Finder
	begun  bool
	cancel context.CancelFunc
	found  chan []Info
}

func (n *networkSearch) begin(ctx context.Context) {
	if n.begun || len(n.finder.allBrowsers()) == 0 {
		return
	}
	n.begun = true
	ctx, n.cancel = context.WithCancel(ctx)
	n.found = make(chan []Info, 1)
	go func() {
		n.found <- n.finder.network(ctx, nil, bonjour.Mobdev2, bonjour.Remoted,
			bonjour.RemotePairing)
	}()
}

func (n *networkSearch) wait() []Info {
	if !n.begun {
		return nil
	}
	found := <-n.found
	n.found <- nil
	return found
}

// end cancels the search and waits for its goroutine.
func (n *networkSearch) end() {
	if n.begun {
		n.cancel()
		<-n.found
	}
}

// identify asks the addresses of an instance one after the other until one answers.
func (f *Finder) identify(ctx context.Context, i bonjour.Instance) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, identifyTime)
	defer cancel()
	err := errors.New("no address")
	for _, at := range i.Endpoints() {
		var info Info
		info, err = f.ask(ctx, i.Type, at)
		if err == nil {
			return info, nil
		}
	}
	return Info{}, err
}

// ask returns which device is at an address that was advertised for a type.
func (f *Finder) ask(ctx context.Context, t bonjour.Type, at netip.AddrPort) (Info, error) {
	via := map[bonjour.Type]Via{
		bonjour.Mobdev2: ViaLockdown, bonjour.Remoted: ViaRemoted,
		bonjour.RemotePairing: ViaPairing,
	}[t]
	return f.askRoute(ctx, networkRoute(kindOf(t), via, at))
}

// kindOf returns the kind of the routes that are advertised for a type.
func kindOf(t bonjour.Type) string {
	if t == bonjour.Remoted {
		return "usb"
	}
	return "wifi"
}

// askRoute returns which device is at the end of a route.
func (f *Finder) askRoute(ctx context.Context, route Route) (Info, error) {
	switch route.Via {
	case ViaLockdown:
		v, err := newProbe(f, Info{Routes: []Route{route}}).Public(ctx)
		if err != nil {
			return Info{}, err
		}
		info := Info{Routes: []Route{route}}.with(v)
		info.UDID, _ = v.String("UniqueDeviceID")
		return info, nil
	case ViaRemoted, ViaRSD:
		return f.askRSD(ctx, route)
	}
	c, err := f.channel(ctx, route, nil, nil)
	if err != nil {
		return Info{}, err
	}
	defer c.Close()
	d := c.Device()
	return Info{UDID: d.UDID, Name: d.Name, ProductType: d.Model, Routes: []Route{route}}, nil
}

// askRSD returns which device a list of services belongs to. The list does not have the
// device's name, so askRSD asks lockdown for it, over whichever service of lockdown is
// listed.
func (f *Finder) askRSD(ctx context.Context, route Route) (Info, error) {
	var o rsd.Options
	if route.Via == ViaRSD {
		o.Patience = rsd.UsualPatience // for an address that the user gave
	}
	list, err := f.dialList(ctx, route.dial, route.port, o)
	if err != nil {
		return Info{}, err
	}
	defer list.Close()
	p := list.Peer().Properties
	info := Info{
		UDID: p.UDID(), ProductType: p.ProductType(), Version: p.OSVersion(),
		Build: p.BuildVersion(), Class: p.DeviceClass(), Routes: []Route{route},
	}
	if info.UDID == "" {
		return Info{}, errors.New("the list does not say whose it is")
	}
	if c, err := listedLockdown(ctx, list, f.opts); err == nil {
		if v, err := c.Get(ctx, "", "DeviceName"); err == nil {
			info.Name, _ = v.(string)
		}
		c.Close()
	}
	return info, nil
}

// listedLockdown opens the lockdown service of an RSD list. In a tunnel it has the
// rights of a session. Elsewhere it has those of a host that is not paired.
func listedLockdown(ctx context.Context, list *rsd.Client, o Options) (*lockdown.Client, error) {
	name := trustedLockdown
	if _, ok := list.Find(name); !ok {
		name = untrustedLockdown
	}
	c, err := list.Open(ctx, service.Name{Remote: name, Checkin: true})
	if err != nil {
		return nil, err
	}
	return lockdown.New(c, lockdown.Options{Label: o.Label, Logger: o.Logger}), nil
}

// direct asks the lists of Options.Direct which devices they belong to.
func (f *Finder) direct(ctx context.Context) ([]Info, error) {
	if !f.uses("tunnel") {
		return nil, nil
	}
	list, err := f.opts.Direct(ctx)
	if err != nil {
		return nil, err
	}
	return f.askLists(ctx, list)
}

// askLists asks lists of services which devices they belong to.
func (f *Finder) askLists(ctx context.Context, list []Direct) ([]Info, error) {
	infos, errs := make([]Info, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for n, d := range list {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, describeTimeout)
			defer cancel()
			infos[n], errs[n] = f.askRSD(ctx, d.route())
		})
	}
	wg.Wait()
	var found []Info
	for n, i := range infos {
		if errs[n] == nil {
			found = merge(found, []Info{i})
		}
	}
	if len(found) == 0 && len(list) > 0 {
		return nil, &Error{
			Op: "read the list of services at " + list[0].Address, Err: errors.Join(errs...),
		}
	}
	for n, err := range errs {
		if err != nil {
			f.warn("the list of services at "+list[n].Address+" cannot be read", err)
		}
	}
	return found, nil
}

// At returns the device whose list of services is at the address. This Device is
// separate from those that List finds, and uses no other route.
func (f *Finder) At(ctx context.Context, at Direct) (*Device, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	info, err := f.askRSD(ctx, at.route())
	if err != nil {
		return nil, &Error{Op: "read the list of services at " + at.Address, Err: err}
	}
	d := newDevice(f, info)
	f.mu.Lock()
	f.addressed = append(f.addressed, d)
	f.mu.Unlock()
	return d, nil
}

func (d Direct) route() Route {
	return Route{
		Kind: "tunnel", Via: ViaRSD, Address: d.Address, Name: d.Name, port: d.Port, dial: d.Dial,
	}
}

// DirectTo returns the list of services at a host, which is a name or an address, as
// the option --rsd gives it.
func DirectTo(host string, port uint16) Direct {
	return Direct{
		Address: net.JoinHostPort(host, strconv.Itoa(int(port))), Port: port, Dial: dialHost(host),
	}
}

// DirectAt returns the list of services at an address.
func DirectAt(at netip.AddrPort) Direct { return DirectTo(at.Addr().String(), at.Port()) }

// forgetRoutes removes routes on the network that no longer reach the device.
func (d *Device) forgetRoutes(lost []Route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info.Routes = slices.DeleteFunc(slices.Clone(d.info.Routes),
		func(r Route) bool { return slices.ContainsFunc(lost, r.same) })
}

// discover searches the network for routes to one device.
func (d *Device) discover(ctx context.Context, types ...bonjour.Type) []Route {
	routes := d.elsewhere(d.finder.lookFor(ctx, d.UDID(), types...))
	d.mu.Lock()
	d.info.Routes = addRoutes(d.info.Routes, routes)
	d.mu.Unlock()
	return routes
}

// RemoteStore keeps the records of remote pairing; *remotepair.Dir is one.
type RemoteStore interface {
	Identity(ctx context.Context, hostName string) (*remotepair.Identity, error)
	Load(ctx context.Context, udid string) (*remotepair.Record, error)
	Save(ctx context.Context, udid string, r *remotepair.Record) error
	Delete(ctx context.Context, udid string) error
}

// routes returns the current routes to a device: those of the muxers, and the known
// ones on the network that still answer.
func (f *Finder) routes(ctx context.Context, was Info) ([]Route, error) {
	if f.opts.Direct != nil {
		infos, err := f.direct(ctx)
		for _, i := range infos {
			if i.UDID == was.UDID {
				return i.Routes, nil
			}
		}
		return nil, err
	}
	infos, _, err := f.entries(ctx)
	var routes []Route
	for _, i := range infos {
		if i.UDID == was.UDID {
			routes = i.Routes
		}
	}
	var known []Route
	for _, r := range was.Routes {
		if r.Via != ViaMuxer {
			known = append(known, r)
		}
	}
	known = f.answering(ctx, known, was.UDID)
	if len(known) > 0 {
		err = nil
	}
	if len(routes) == 0 && len(known) == 0 {
		found := f.lookFor(ctx, was.UDID, bonjour.Mobdev2, bonjour.Remoted, bonjour.RemotePairing)
		if found != nil {
			return found, nil
		}
	}
	return addRoutes(routes, known), err
}

// answering returns the routes that still reach the device.
func (f *Finder) answering(ctx context.Context, routes []Route, udid string) []Route {
	there := make([]bool, len(routes))
	var wg sync.WaitGroup
	for n, r := range routes {
		wg.Go(func() { there[n] = f.answers(ctx, r, udid) })
	}
	wg.Wait()
	var kept []Route
	for n, r := range routes {
		if there[n] {
			kept = append(kept, r)
		}
	}
	return kept
}

// answers reports whether a route on the network still reaches the device.
func (f *Finder) answers(ctx context.Context, r Route, udid string) bool {
	ctx, cancel := context.WithTimeout(ctx, identifyTime)
	defer cancel()
	i, err := f.askRoute(ctx, r)
	return err == nil && i.UDID == udid
}
