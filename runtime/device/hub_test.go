package device

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/usbmux"
)

// deadMuxer returns a client of a muxer that cannot be reached.
func deadMuxer(t *testing.T) *usbmux.Client {
	t.Helper()
	m, err := usbmux.New(usbmux.Options{
		Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no muxer") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// seen is an event in short.
type seen struct {
	kind EventKind
	udid string
	left int // number of routes
}

// all returns the events of a Watcher until there are no more. It runs in a bubble of
// synctest.
func all(t *testing.T, w *Watcher) []seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var events []seen
	for {
		e, err := w.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, seen{e.Kind, e.Info.UDID, len(e.Info.Routes)})
	}
}

// TestHubKeysByMuxerAndNumber has two muxers that use the same number, and one that
// gives the number of a device to another one, reports a device twice and reports the
// end of a device that was never there.
func TestHubKeysByMuxerAndNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := deadMuxer(t), deadMuxer(t)
		f := NewFinder(Options{Muxers: []*usbmux.Client{first, second}})
		defer f.Close()
		w := f.Watch(WatchOptions{AtOnce: true})
		defer w.Close()
		report := func(m *usbmux.Client, kind usbmux.EventKind, udid string) []seen {
			t.Helper()
			entry := usbmux.Entry{UDID: udid, DeviceID: 1, ConnectionType: usbmux.USB}
			w.hub.handle(m, usbmux.Event{Kind: kind, Entry: entry})
			return slices.DeleteFunc(all(t, w), func(s seen) bool { return s.kind == Described })
		}
		for n, step := range []struct {
			m    *usbmux.Client
			kind usbmux.EventKind
			udid string
			want []seen
		}{
			{first, usbmux.Detached, "a", nil},
			{first, usbmux.Attached, "a", []seen{{Attached, "a", 1}}},
			{first, usbmux.Attached, "a", nil},
			{second, usbmux.Attached, "a", []seen{{Attached, "a", 2}}},
			{first, usbmux.Attached, "b", []seen{{Detached, "a", 1}, {Attached, "b", 1}}},
			{first, usbmux.Paired, "b", []seen{{Paired, "b", 1}}},
			{second, usbmux.Detached, "a", []seen{{Detached, "a", 0}}},
			{second, usbmux.Detached, "a", nil},
			{first, usbmux.Detached, "b", []seen{{Detached, "b", 0}}},
		} {
			got := report(step.m, step.kind, step.udid)
			if !slices.Equal(got, step.want) {
				t.Errorf("step %d: the events are %v, want %v", n, got, step.want)
			}
		}
		if n := len(w.told) + len(w.hub.present) + len(w.hub.devices); n != 0 {
			t.Errorf("%d entries are left after all devices have gone", n)
		}
	})
}

// TestWatcherMemory uses a muxer that attaches and detaches made-up devices while no
// goroutine reads from the Watcher. The Watcher must not keep them.
func TestWatcherMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := deadMuxer(t)
		f := NewFinder(Options{Muxers: []*usbmux.Client{m}})
		defer f.Close()
		w := f.Watch(WatchOptions{AtOnce: true})
		defer w.Close()
		for n := range 1000 {
			entry := usbmux.Entry{UDID: string(rune('a' + n)), DeviceID: uint32(n + 1)}
			w.hub.handle(m, usbmux.Event{Kind: usbmux.Attached, Entry: entry})
			w.hub.handle(m, usbmux.Event{Kind: usbmux.Detached, Entry: entry})
		}
		synctest.Wait()
		if n := len(w.told) + len(w.changed) + len(w.hub.present) + len(w.hub.devices); n != 0 {
			t.Errorf("%d entries are kept of devices that have gone", n)
		}
	})
}

// TestWatchOneDevice watches one of two devices.
func TestWatchOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := deadMuxer(t)
		f := NewFinder(Options{Muxers: []*usbmux.Client{m}})
		defer f.Close()
		w := f.Watch(WatchOptions{UDID: "b"})
		defer w.Close()
		for n, udid := range []string{"a", "b"} {
			entry := usbmux.Entry{UDID: udid, DeviceID: uint32(n + 1)}
			w.hub.handle(m, usbmux.Event{Kind: usbmux.Attached, Entry: entry})
		}
		got, want := all(t, w), []seen{{Attached, "b", 1}}
		if !slices.Equal(got, want) {
			t.Errorf("the events are %v, want %v", got, want)
		}
	})
}

// searched is what the searches of a test find, one after the other.
type searched struct {
	results [][]Info
	next    int
}

func (s *searched) look() []Info {
	if s.next == len(s.results) {
		return nil
	}
	s.next++
	return s.results[s.next-1]
}

// onNetwork returns a device that was found as an instance on an interface, at a port on
// which nothing listens.
func onNetwork(udid, instance string, port uint16, via Via) Info {
	r := networkRoute("wifi", via, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
	r.instance = instance
	return Info{UDID: udid, Name: "phone " + udid, Routes: []Route{r}}
}

// TestHubKeysByInstance searches the network several times. A device is known by the
// instance and its interface, and not by the address, which may change.
func TestHubKeysByInstance(t *testing.T) {
	const cable, other = "ncm on en5", "ncm on en6"
	for _, test := range []struct {
		name    string
		results [][]Info
		want    []seen
	}{
		{"found twice", [][]Info{
			{onNetwork("a", cable, 1, ViaRemoted)},
			{onNetwork("a", cable, 1, ViaRemoted)},
		}, []seen{{Attached, "a", 1}, {Detached, "a", 0}}},
		{"another address", [][]Info{
			{onNetwork("a", cable, 1, ViaRemoted)},
			{onNetwork("a", cable, 2, ViaRemoted)},
		}, []seen{{Attached, "a", 1}, {Detached, "a", 0}}},
		{"two interfaces with the same name", [][]Info{
			{
				onNetwork("a", cable, 1, ViaRemoted),
				onNetwork("b", other, 2, ViaRemoted),
			},
			{onNetwork("b", other, 2, ViaRemoted)},
		}, []seen{
			{Attached, "a", 1}, {Attached, "b", 1}, {Detached, "a", 0}, {Detached, "b", 0},
		}},
		{"another device with the same name", [][]Info{
			{onNetwork("a", cable, 1, ViaRemoted)},
			{onNetwork("b", cable, 1, ViaRemoted)},
		}, []seen{
			{Attached, "a", 1}, {Attached, "b", 1}, {Detached, "a", 0}, {Detached, "b", 0},
		}},
		{"two routes", [][]Info{
			{
				onNetwork("a", cable, 1, ViaRemoted),
				onNetwork("a", "x on wlan0", 2, ViaLockdown),
			},
			{onNetwork("a", "x on wlan0", 2, ViaLockdown)},
		}, []seen{
			{Attached, "a", 2}, {Attached, "a", 2}, {Detached, "a", 1}, {Detached, "a", 0},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := NewFinder(Options{})
				defer f.Close()
				w := f.Watch(WatchOptions{})
				defer w.Close()
				w.network = true
				found := searched{results: test.results}
				w.hub.work.Go(func() { w.hub.search(found.look, Route.network) })
				if got := all(t, w); !slices.Equal(got, test.want) {
					t.Errorf("the events are %v, want %v", got, test.want)
				}
			})
		})
	}
}

// TestHubBoundsTheNetwork has searches that find more and more devices. The hub must not
// keep all of them, and none without an identifier.
func TestHubBoundsTheNetwork(t *testing.T) {
	h := newHub(NewFinder(Options{}))
	defer h.end()
	for round := range 3 {
		var infos []Info
		for n := range maxAsked / 2 {
			name := strconv.Itoa(round*maxAsked + n)
			infos = append(infos, onNetwork(name, name, uint16(n+1), ViaRemoted))
		}
		infos = append(infos, onNetwork("", "nameless", 9999, ViaRemoted))
		h.found(infos, Route.network)
	}
	if n := len(h.present); n != maxAsked {
		t.Errorf("%d attachments are kept, want %d", n, maxAsked)
	}
	if n := len(h.devices[""]); n != 0 {
		t.Errorf("%d devices without an identifier are kept, want none", n)
	}
}

// TestWatchSearches checks which Watchers search the network or read the lists.
func TestWatchSearches(t *testing.T) {
	none := func(context.Context) ([]Direct, error) { return nil, nil }
	for name, test := range map[string]struct {
		options Options
		watch   WatchOptions
		want    bool
	}{
		"nothing asked for":  {Options{}, WatchOptions{}, false},
		"network":            {Options{}, WatchOptions{Network: true}, true},
		"lists":              {Options{Direct: none}, WatchOptions{}, true},
		"lists, one device":  {Options{Direct: none}, WatchOptions{UDID: "a"}, false},
		"network of a phone": {Options{}, WatchOptions{UDID: "a", Network: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := NewFinder(test.options)
				defer f.Close()
				w := f.Watch(test.watch)
				defer w.Close()
				if w.hub.searching != test.want {
					t.Errorf("it searches: %t, want %t", w.hub.searching, test.want)
				}
			})
		})
	}
}
