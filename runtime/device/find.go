package device

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// describeTimeout bounds the description of one device, so that a device that hangs
// does not hide the others.
const describeTimeout = 5 * time.Second

// Options says where a Finder looks for devices and how it treats them.
type Options struct {
	Muxers []*usbmux.Client
	// Browser finds devices on the network. If it is nil, there is no search on the
	// network.
	Browser bonjour.Browser
	// Direct returns the lists of services that can be reached without a tunnel of this
	// program. If it is nil, there are none.
	Direct func(context.Context) ([]Direct, error)

	Stores []pair.Store // searched after the muxers' records
	// RemoteStores keep the records of remote pairing. The first one has the identity
	// of this host and gets the new records. If there is none, records are kept in
	// memory.
	RemoteStores []RemoteStore

	// Host returns the identity of this computer for lists of services; see
	// rsd.Options.Host. It is called when it is first needed. If it is nil or fails, the
	// Finder uses a random one, which devices since iOS 27.2 take for another host.
	Host func(context.Context) (xpc.UUID, error)

	NoAutoPair bool // do not pair when a session or a tunnel needs it
	// NoPair never pairs, so that no device shows a Trust dialog. A pairing that exists is
	// used. Where there is none, values are read without a session.
	NoPair   bool
	Label    string // program name told to devices; "" = "imdlua"
	HostName string // shown in the Trust dialog

	// Rand is the source of random bytes on the wire, except for those of TLS and QUIC.
	// If it is nil, crypto/rand is used. It must be safe for concurrent use.
	Rand io.Reader

	// OnTrustDialog is called once a second while a device waits for an answer to its
	// Trust dialog.
	OnTrustDialog func(Info)
	// OnMuxerError is called for a muxer that does not answer when devices are listed
	// without it. If no muxer answers and no device is found, List returns the errors
	// instead.
	OnMuxerError func(address string, err error)
	// OnWarning is called with what the user has to know although the work goes on: what is
	// missing or not as it should be. It may be called several times with the same text,
	// and from any goroutine. err is nil if the text says all.
	OnWarning func(text string, err error)
	// PIN asks the user for the digits that a device without a dialog shows, such as an
	// Apple TV. If it is nil, such devices cannot be paired.
	PIN    func(context.Context) (string, error)
	Logger *slog.Logger // nil = silent
}

// Finder finds devices behind one or several muxers.
type Finder struct {
	opts Options
	log  *slog.Logger

	mu        sync.Mutex
	muxers    []*usbmux.Client
	browsers  []bonjour.Browser
	known     map[string]*Device // by Device.key: one for each UDID, which shares its session
	addressed []*Device          // made by At
	derived   map[derived]*Finder

	parent      *Finder // the Finder that has made this one, or nil
	restriction Restriction

	looks looks

	watching sync.Mutex // guards hub, and is taken before mu
	hub      *hub       // nil if there are no Watchers

	keysTurn chan struct{} // held while keys are generated
	keys     *pair.Keys
	quicKey  *rsa.PrivateKey // of QUIC tunnels

	hostTurn chan struct{} // held while the identity is read
	hostID   xpc.UUID      // for lists of services; zero until it is needed
}

// NewFinder returns a Finder.
func NewFinder(o Options) *Finder {
	if o.Label == "" {
		o.Label = "imdlua"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.RemoteStores) == 0 {
		o.RemoteStores = []RemoteStore{&memoryStore{rand: o.Rand}}
	}
	o.NoAutoPair = o.NoAutoPair || o.NoPair
	f := &Finder{
		opts: o, log: o.Logger, muxers: slices.Clone(o.Muxers), known: map[string]*Device{},
		keysTurn: make(chan struct{}, 1), hostTurn: make(chan struct{}, 1),
	}
	if o.Browser != nil {
		f.browsers = []bonjour.Browser{o.Browser}
	}
	return f
}

// AddMuxer adds a muxer to those of the Finder. Existing Watchers watch it, too.
func (f *Finder) AddMuxer(m *usbmux.Client) {
	f.mu.Lock()
	f.muxers = append(slices.Clone(f.muxers), m)
	f.mu.Unlock()
	f.followAdded(m)
}

// AddBrowser adds a network on which the Finder looks for devices.
func (f *Finder) AddBrowser(b bonjour.Browser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.browsers = append(slices.Clone(f.browsers), b)
}

func (f *Finder) allBrowsers() []bonjour.Browser {
	if f.restriction.Muxer != "" {
		return nil
	}
	if f.parent != nil {
		return f.parent.allBrowsers()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.browsers
}

func (f *Finder) allMuxers() []*usbmux.Client {
	if f.parent != nil && f.restriction.Muxer == "" {
		return f.parent.allMuxers()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.muxers
}

// Close closes all devices that the Finder has returned.
func (f *Finder) Close() error {
	f.mu.Lock()
	devices := slices.Collect(maps.Values(f.known))
	devices = append(devices, f.addressed...)
	finders := slices.Collect(maps.Values(f.derived))
	f.known, f.addressed, f.derived = map[string]*Device{}, nil, nil
	f.mu.Unlock()
	for _, d := range devices {
		d.Close()
	}
	for _, d := range finders {
		d.Close()
	}
	return nil
}

// Info describes a device. If the device did not answer, only UDID and Routes are set
// and Err has the reason.
type Info struct {
	UDID        string
	Name        string // DeviceName, as set by its owner
	ProductType string // e.g. iPhone15,2
	Version     string // iOS version
	Build       string
	Class       string  // iPhone, iPad, ...
	WiFiAddress string  // MAC address of Wi-Fi, if lockdown has answered
	Routes      []Route // best first
	Err         error
}

// String returns a description by which a user can identify the device.
func (i Info) String() string {
	if i.Name == "" {
		return i.UDID
	}
	return fmt.Sprintf("%s %q (%s, iOS %s)", i.UDID, i.Name, i.ProductType, i.Version)
}

// Transport returns the kind of the best route.
func (i Info) Transport() string {
	if len(i.Routes) == 0 {
		return ""
	}
	return i.Routes[0].Kind
}

// muxerError is the error of a muxer that does not answer.
type muxerError struct {
	address string
	err     error
}

// entries asks every muxer for its devices and merges them by UDID. failed has the muxers
// that do not answer. err is not nil only if none of them answers.
func (f *Finder) entries(ctx context.Context) (infos []Info, failed []muxerError, err error) {
	type answer struct {
		list []usbmux.Entry
		err  error
	}
	muxers := f.allMuxers()
	answers := make([]answer, len(muxers))
	var wg sync.WaitGroup
	for i, m := range muxers {
		wg.Go(func() { answers[i].list, answers[i].err = m.List(ctx) })
	}
	wg.Wait()
	var errs []error
	index := map[string]int{}
	for i, a := range answers {
		if a.err != nil {
			errs = append(errs, a.err)
			failed = append(failed, muxerError{muxers[i].Address(), a.err})
			continue
		}
		for _, e := range a.list {
			r := muxerRoute(muxers[i], e)
			if !f.uses(r.Kind) {
				continue
			}
			at, ok := index[e.UDID]
			if !ok {
				at = len(infos)
				index[e.UDID] = at
				infos = append(infos, Info{UDID: e.UDID})
			}
			infos[at].Routes = append(infos[at].Routes, r)
		}
	}
	if len(errs) == len(answers) && len(errs) > 0 {
		return nil, failed, errors.Join(errs...)
	}
	for _, in := range infos {
		sortRoutes(in.Routes)
	}
	return infos, failed, nil
}

// describe asks the device for its description, without a session.
func describe(ctx context.Context, f *Finder, i Info) Info {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	if _, ok := i.lockdown(); !ok {
		return i // a device on the network has been described when it was found
	}
	v, err := newProbe(f, i).Public(ctx)
	if err != nil {
		i.Err = err
		return i
	}
	return i.with(v)
}

func (i Info) with(v plist.Dict) Info {
	i.Name, _ = v.String("DeviceName")
	i.ProductType, _ = v.String("ProductType")
	i.Version, _ = v.String("ProductVersion")
	i.Build, _ = v.String("BuildVersion")
	i.Class, _ = v.String("DeviceClass")
	i.WiFiAddress, _ = v.String("WiFiAddress")
	return i
}

// List returns the connected devices that match, sorted by UDID. A device that does not
// answer is listed with Err set, if the fields that the selector asks for are known
// without its answer.
func (f *Finder) List(ctx context.Context, s Selector) ([]Info, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if f.opts.Direct != nil {
		infos, err := f.direct(ctx)
		return matching(infos, s), err
	}
	search := &networkSearch{finder: f}
	defer search.end()
	if s.Network || s.Transport == "wifi" {
		search.begin(ctx)
	}
	infos, failed, err := f.entries(ctx)
	if err == nil {
		infos = slices.DeleteFunc(infos, func(i Info) bool {
			return !IsWiFiAddress(s.UDID) && !s.Names(i)
		})
		var wg sync.WaitGroup
		for n := range infos {
			wg.Go(func() { infos[n] = describe(ctx, f, infos[n]) })
		}
		wg.Wait()
	}
	if search.begun || len(matching(infos, s)) == 0 && len(f.allBrowsers()) > 0 {
		search.begin(ctx)
		found := search.wait()
		if len(found) > 0 {
			infos, err = merge(infos, found), nil
		}
	}
	if err != nil {
		return nil, err
	}
	for _, m := range failed {
		if f.opts.OnMuxerError != nil {
			f.opts.OnMuxerError(m.address, m.err)
		}
	}
	return matching(infos, s), nil
}

// warn logs a warning and passes it to Options.OnWarning.
func (f *Finder) warn(text string, err error) {
	f.log.Warn(text, "layer", "device", "err", err)
	if f.opts.OnWarning != nil {
		f.opts.OnWarning(text, err)
	}
}

// matching returns the devices that match, sorted by UDID.
func matching(infos []Info, s Selector) []Info {
	infos = slices.DeleteFunc(slices.Clone(infos), func(i Info) bool { return !s.Matches(i) })
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.UDID, b.UDID) })
	return infos
}

// Find returns the one device that matches. If several match, it returns an
// *AmbiguousError that lists them.
func (f *Finder) Find(ctx context.Context, s Selector) (*Device, error) {
	infos, err := f.List(ctx, s)
	if err != nil {
		return nil, err
	}
	switch len(infos) {
	case 0:
		return nil, &Error{UDID: s.UDID, Op: "find", Err: ErrNotFound}
	case 1:
		return f.Device(infos[0]), nil
	}
	return nil, &AmbiguousError{Matches: infos}
}

// Device returns the Device for a description made by List. If the description has no
// routes on the network, the Device keeps those that it had.
func (f *Finder) Device(i Info) *Device {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.known[i.UDID]
	if !ok {
		d = newDevice(f, i)
		d.key = i.UDID
		f.known[d.key] = d
		return d
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.ContainsFunc(i.Routes, Route.network) {
		i.Routes = addRoutes(i.Routes, slices.DeleteFunc(slices.Clone(d.info.Routes),
			func(r Route) bool { return !r.network() }))
	}
	d.info = i
	return d
}

// forget removes a closed Device, so that the next call for the phone makes a new one.
func (f *Finder) forget(d *Device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known[d.key] == d {
		delete(f.known, d.key)
	}
	f.addressed = slices.DeleteFunc(f.addressed, func(o *Device) bool { return o == d })
}

// ready reports whether a described device answers lockdown.
func (i Info) ready() bool { return i.Err == nil && i.Version != "" }
