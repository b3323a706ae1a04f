package virtual_test

import (
	"context"
	"errors"
	"flag"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// programTime is how long TestPrograms runs. With 0 each program does its work a few
// times.
var programTime = flag.Duration("programs", 0, "run TestPrograms for this long")

// host returns an Options.Host of a computer.
func host(n byte) func(context.Context) (xpc.UUID, error) {
	return func(context.Context) (xpc.UUID, error) { return xpc.UUID{n}, nil }
}

// shared is a tunnel in which several programs are.
type shared struct {
	machine *virtual.Machine
	carrier func(ctx context.Context, port uint16) (net.Conn, error)
	lists   atomic.Int32 // connections to the list so far
}

func newShared(t *testing.T, o virtual.Options) *shared {
	o.Phone.LogRate = -1
	m := virtualtest.Host(t, virtual.HostOptions{Device: o}).Devices()[0]
	return &shared{machine: m, carrier: m.Carrier()}
}

func (s *shared) dial(ctx context.Context, port uint16) (net.Conn, error) {
	if port == s.machine.ListPort() {
		s.lists.Add(1)
	}
	return s.carrier(ctx, port)
}

// program returns a device as another program on a computer sees it, and its tunnel.
func (s *shared) program(t *testing.T, computer byte) (*device.Device, *device.Tunnel) {
	t.Helper()
	f := device.NewFinder(device.Options{Host: host(computer)})
	t.Cleanup(func() { f.Close() })
	d, err := f.At(t.Context(), device.Direct{
		Name: "shared", Address: "tunnel", Port: s.machine.ListPort(), Dial: s.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	tun, err := d.Tunnel(t.Context(), device.TunnelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d, tun
}

// work uses a device as programs do.
func work(ctx context.Context, d *device.Device) error {
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		return err
	}
	files, err := afc.Connect(ctx, d)
	if err != nil {
		return err
	}
	defer files.Close()
	_, err = files.ReadDir(ctx, "/")
	return err
}

// lasted checks that a device has had one tunnel all the time.
func lasted(t *testing.T, who string, d *device.Device, tun *device.Tunnel) {
	t.Helper()
	if err := tun.Err(); err != nil {
		t.Errorf("%s: the tunnel ended: %v", who, err)
	}
	if now := d.Tunneled(); now != tun {
		t.Errorf("%s: the tunnel was made again: %+v", who, now)
	}
}

// TestProgramsOnOneList has two programs of one computer in one tunnel for five minutes.
// The device gives its only connection to the list to either in turn. Neither may have an
// error or lose the tunnel, and they must not take the connection from each other all the
// time.
func TestProgramsOnOneList(t *testing.T) {
	makeSharedKey(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t, virtual.Options{Phone: phone.Options{Profile: "ios27"}})
		var running sync.WaitGroup
		for _, who := range []string{"one", "two"} {
			d, tun := s.program(t, 1)
			running.Go(func() {
				for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); {
					if err := work(t.Context(), d); err != nil {
						t.Errorf("program %s: %v", who, err)
						return
					}
					time.Sleep(5 * time.Second)
				}
				lasted(t, "program "+who, d, tun)
			})
		}
		running.Wait()
		n := s.lists.Load()
		if n > 60 {
			t.Errorf("the programs read the list %d times in five minutes", n)
		}
		if n < 6 {
			t.Errorf("the list was read %d times, as if both programs had a connection", n)
		}
	})
}

// TestListConnectionIsLost ends the connection to the list, and lets no other one be made
// for a while. The tunnel lives, so that nothing may be lost, and the list must be read
// again afterwards.
func TestListConnectionIsLost(t *testing.T) {
	makeSharedKey(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t, virtual.Options{Phone: phone.Options{Profile: "ios27"}})
		d, tun := s.program(t, 1)
		old := tun.List().Done()
		s.program(t, 1) // which takes the connection
		<-old
		s.machine.SetFault("rsd", virtual.Fault{Kind: virtual.CloseMidMessage, After: 100})
		if err := work(t.Context(), d); err != nil {
			t.Errorf("without a connection to the list: %v", err)
		}
		time.Sleep(5 * time.Second) // in which one reading fails with all its attempts
		if err := tun.List().Err(); err == nil {
			t.Error("there is a connection to the list that cannot be read")
		}
		s.machine.ClearFaults()
		read := s.lists.Load()
		time.Sleep(time.Minute)
		if n := s.lists.Load(); n == read {
			t.Error("the list was not read again")
		}
		lasted(t, "the program", d, tun)
	})
}

// TestForeignHost has programs of two computers in one tunnel. With one connection to the
// list, the ports of the services change at every turn. Connections stay open, and
// both programs find the services again. Devices without the rule keep the ports.
func TestForeignHost(t *testing.T) {
	makeSharedKey(t)
	t.Parallel()
	for _, c := range []struct {
		profile string
		lists   virtual.ListRule
		single  bool
	}{
		{"ios27", virtual.ListsOfVersion, true}, {"ios27", virtual.ManyLists, false},
		{"ios17", virtual.SingleList, true}, {"ios26", virtual.ListsOfVersion, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShared(t,
				virtual.Options{Phone: phone.Options{Profile: c.profile}, Lists: c.lists})
			ours, tun := s.program(t, 1)
			before, _ := tun.List().Find(afc.Service.Lockdown)
			files, err := afc.Connect(t.Context(), ours)
			if err != nil {
				t.Fatal(err)
			}
			defer files.Close()
			list := tun.List().Done()
			theirs, their := s.program(t, 2)
			synctest.Wait()
			kept, err := s.carrier(t.Context(), before.Port)
			if moved := errors.Is(err, syscall.ECONNREFUSED); moved != c.single {
				t.Errorf("%s, %v: the port of afc is closed: %v, want %v", c.profile, c.lists,
					moved, c.single)
			}
			if err == nil {
				kept.Close()
			}
			ended := false
			select {
			case <-list:
				ended = true
			default:
			}
			if ended != c.single {
				t.Errorf("%s, %v: the connection to the list ended: %v, want %v", c.profile,
					c.lists, ended, c.single)
			}
			if _, err := files.ReadDir(t.Context(), "/"); err != nil {
				t.Errorf("%s, %v: a connection from before: %v", c.profile, c.lists, err)
			}
			for range 3 {
				if err := work(t.Context(), ours); err != nil {
					t.Errorf("%s, %v: our program: %v", c.profile, c.lists, err)
				}
				if err := work(t.Context(), theirs); err != nil {
					t.Errorf("%s, %v: their program: %v", c.profile, c.lists, err)
				}
				time.Sleep(time.Minute)
			}
			lasted(t, "our program", ours, tun)
			lasted(t, "their program", theirs, their)
		})
	}
}

// TestPrograms has several programs of one computer at a device: two with a tunnel of
// their own, and one in the tunnel of the first.
func TestPrograms(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	if *programTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(t.Context(), *programTime+time.Minute)
		defer cancel()
	}
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
		Phone: phone.Options{Profile: "ios27"},
	}})
	var devices []*device.Device
	var tunnels []*device.Tunnel
	add := func(d *device.Device, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		tun, err := d.Tunnel(ctx, device.TunnelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		devices, tunnels = append(devices, d), append(tunnels, tun)
	}
	for range 2 {
		add(virtualtest.Finder(t, h, device.Options{Host: host(1)}).Find(ctx, device.Selector{}))
	}
	f := device.NewFinder(device.Options{Host: host(1)})
	t.Cleanup(func() { f.Close() })
	add(f.At(ctx, device.Direct{
		Name: "first", Address: "tunnel", Port: tunnels[0].RSDPort, Dial: tunnels[0].Dial,
	}))
	end := time.Now().Add(*programTime)
	var running sync.WaitGroup
	for n, d := range devices {
		running.Go(func() {
			for round := 0; round < 3 || time.Now().Before(end); round++ {
				if err := work(ctx, d); err != nil {
					t.Errorf("program %d, round %d: %v", n+1, round, err)
					return
				}
				if *programTime > 0 {
					time.Sleep(time.Second) // programs do not work all the time
				}
			}
		})
	}
	running.Wait()
	for n, d := range devices {
		if err := tunnels[n].Err(); err != nil {
			t.Errorf("program %d: the tunnel ended: %v", n+1, err)
		}
		if d.Tunneled() != tunnels[n] {
			t.Errorf("program %d: the tunnel was made again", n+1)
		}
	}
}

// TestListRules checks which profiles have the rules by themselves.
func TestListRules(t *testing.T) {
	makeSharedKey(t)
	t.Parallel()
	for _, profile := range identity.Profiles() {
		if profile == "ios16" {
			continue // it has no tunnels
		}
		synctest.Test(t, func(t *testing.T) {
			s := newShared(t, virtual.Options{Phone: phone.Options{Profile: profile}})
			_, first := s.program(t, 1)
			s.program(t, 1)
			synctest.Wait()
			single := first.List().Err() != nil
			if want := profile == "ios27"; single != want {
				t.Errorf("%s: one connection to the list: %v, want %v", profile, single, want)
			}
		})
	}
}
