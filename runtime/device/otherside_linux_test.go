package device_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// machines is the process with the devices.
type machines struct {
	in    io.Writer
	lines *bufio.Scanner
}

// ask sends a line and returns the answer.
func (m *machines) ask(t *testing.T, line string) string {
	t.Helper()
	if _, err := io.WriteString(m.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	if !m.lines.Scan() {
		t.Fatalf("no answer to %q", line)
	}
	return m.lines.Text()
}

// startDevice starts the devices in their namespace and joins it to this one.
func startDevice(t *testing.T) *machines {
	t.Helper()
	cmd := exec.Command("unshare", "-n", os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+roleDevice)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the devices: %v", err)
		}
	})
	m := &machines{in: in, lines: bufio.NewScanner(out)}
	m.ask(t, "up?") // by now it is in its namespace
	run := func(lines ...string) {
		t.Helper()
		if err := runIP(lines...); err != nil {
			t.Fatal(err)
		}
	}
	run("link set lo up") // package net checks this interface to decide whether there is IPv6
	for n := range 2 {
		run(fmt.Sprintf("link add h%d type veth peer name d%d netns %d", n, n, cmd.Process.Pid),
			fmt.Sprintf("link set h%d addrgenmode none", n),
			fmt.Sprintf("addr add 10.9.%d.1/24 dev h%d", n, n),
			fmt.Sprintf("addr add fe80::1/64 dev h%d nodad", n))
	}
	m.ask(t, "link")
	run("link set h0 up", "link set h1 up")
	m.ask(t, "show")
	return m
}

func runIP(lines ...string) error {
	for _, l := range lines {
		if out, err := exec.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", l, err, out)
		}
	}
	return nil
}

// playDevice is the process with the devices. It answers each line with one.
func playDevice() error {
	h, err := virtual.NewHost(virtual.HostOptions{
		Count:  1,
		Device: virtual.Options{Phone: phone.Options{Profile: "ios17.2"}, Heartbeat: time.Second},
	})
	if err != nil {
		return err
	}
	defer h.Close()
	new, err := h.Add(virtual.Options{
		Phone: phone.Options{Profile: "ios26", Serial: h.NextSerial()}, Heartbeat: time.Second,
	})
	if err != nil {
		return err
	}
	old := h.Devices()[0]
	on := &stage{}
	ctx, calm := context.WithCancel(context.Background())
	defer calm()
	orders := map[string]func() error{
		"up?":  func() error { return errors.Join(pairHost(old), pairHost(new)) },
		"link": link,
		"show": func() error {
			return errors.Join(
				on.show(old,
					virtual.NetworkOptions{Address: netip.MustParseAddr("fe80::d%d0"), Wifi: true}),
				on.show(old, virtual.NetworkOptions{
					Address: netip.MustParseAddr("fe80::d%d1"), Ethernet: true,
				}),
				on.show(old,
					virtual.NetworkOptions{Address: netip.MustParseAddr("10.9.1.2"), Wifi: true}),
				on.show(new,
					virtual.NetworkOptions{Address: netip.MustParseAddr("fe80::e%d0"), Wifi: true}))
		},
		"unplug": func() error { old.Detach(); return nil },
		"plug":   old.Replug,
		"poison": func() error { return poison(ctx, on.services) },
		"calm":   func() error { calm(); return nil },
	}
	answers := map[string]string{"old": old.UDID(), "new": new.UDID()}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if do, ok := orders[in.Text()]; ok {
			if err := do(); err != nil {
				return fmt.Errorf("%s: %w", in.Text(), err)
			}
		}
		fmt.Println(answers[in.Text()])
	}
	return in.Err()
}

// stage holds the services that the phones advertise.
type stage struct{ services []bonjour.Service }

func (s *stage) show(m *virtual.Machine, o virtual.NetworkOptions) error {
	o.Announce, o.Fixed = true, true
	p, err := m.Show(o)
	if err != nil {
		return err
	}
	s.services = append(s.services, p.Advertised()...)
	return nil
}

// link brings up the device's ends of the network.
func link() error {
	for n := range 2 {
		if err := runIP(fmt.Sprintf("link set d%d addrgenmode none", n),
			fmt.Sprintf("addr add fe80::d/64 dev d%d nodad", n)); err != nil {
			return err
		}
	}
	return runIP("link set lo up", "addr add fe80::e/64 dev d0 nodad",
		"addr add 10.9.1.2/24 dev d1", "link set d0 up", "link set d1 up")
}

// pairHost pairs a phone with the host, as over a cable, and stores the record where the
// host looks for it.
func pairHost(m *virtual.Machine) error {
	ctx := context.Background()
	dir, p := pair.NewDir(os.Getenv(recordsVariable)), m.Phone()
	buid, err := dir.BUID(ctx)
	if err != nil {
		return err
	}
	mac, _ := p.Values.Get("", "WiFiAddress")
	address, _ := mac.(string)
	r, err := pair.Generate(ctx, pair.Params{
		DevicePublicKey: p.Trust.PublicKeyPEM(), WiFiAddress: address, SystemBUID: buid,
	})
	if err != nil {
		return err
	}
	h, err := p.Trust.Pair(trust.PairRequest{
		HostID: r.HostID, SystemBUID: r.SystemBUID, Label: "test",
		HostCertificate: r.HostCertificate, RootCertificate: r.RootCertificate,
		DeviceCertificate: r.DeviceCertificate,
	})
	if err != nil {
		return err
	}
	r.EscrowBag = h.EscrowBag
	return dir.Save(ctx, p.Identity.UDID, r)
}
