//go:build linux

package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// oneType is a network on which advertisements of one type are heard.
type oneType struct {
	host *virtual.Host
	of   bonjour.Type
}

func (n oneType) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	if q.Type != n.of {
		return nil, ctx.Err()
	}
	return n.host.Browse(ctx, q)
}

// shared pairs with a phone over its cable, unplugs it unless it is reached by the network
// interface of the cable, and starts a rig in which foreign programs find it at a muxer
// that has it from the network.
func shared(t *testing.T, via bonjour.Type) *rig {
	t.Helper()
	r := plug(t, virtual.HostOptions{Device: virtual.Options{
		Phone: phone.Options{Profile: "ios17"}, Echo: echoPort,
	}})
	r.output("idevicepair", "pair")
	if via == bonjour.Mobdev2 {
		if _, err := r.machine().Show(virtual.NetworkOptions{Wifi: true}); err != nil {
			t.Fatal(err)
		}
		r.machine().Detach()
	}
	f := device.NewFinder(device.Options{
		Browser: oneType{r.host, via}, Stores: []pair.Store{pair.NewDir(r.records)},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := f.Share(r.ctx, device.ShareOptions{Network: true})
	served := make(chan error, 1)
	go func() { served <- s.Serve(r.ctx, l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		f.Close()
	})
	r.env = append(slices.Clone(r.env), "USBMUXD_SOCKET_ADDRESS="+l.Addr().String())
	mux, err := usbmux.New(usbmux.Options{Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	w := mux.Watch()
	defer w.Close()
	if _, err := w.Next(r.ctx); err != nil { // the programs do not wait for the device
		t.Fatal(err)
	}
	return r
}

// TestShared uses a phone that only Wi-Fi or a tunnel reaches with the programs of
// libimobiledevice.
func TestShared(t *testing.T) {
	t.Parallel()
	for name, via := range map[string]bonjour.Type{
		"Wi-Fi": bonjour.Mobdev2, "tunnel": bonjour.Remoted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := shared(t, via)
			udid := r.phone().Identity.UDID
			r.want(result{out: udid + "\n"}, "idevice_id", "-l")
			r.want(result{out: r.phone().Identity.Version + "\n"}, "ideviceinfo", "-k",
				"ProductVersion")
			r.wantStatus(0, "com.apple", "ideviceinstaller", "-l", "-o", "list_system")
			p := r.launch(r.command("inetcat", "-u", udid, fmt.Sprint(echoPort)))
			io.WriteString(p.in, "line through inetcat\n")
			if got := p.line("line"); got != "line through inetcat" {
				t.Errorf("inetcat printed %q, want the line", got)
			}
			throughIproxy(t, r)
		})
	}
}

// throughIproxy uses the echo service of a phone.
func throughIproxy(t *testing.T, r *rig) {
	t.Helper()
	address, local := freeAddress(t)
	p := r.start("iproxy", fmt.Sprintf("%s:%d", local, echoPort))
	p.line("waiting for connection")
	var d net.Dialer
	c, err := d.DialContext(r.ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline, _ := r.ctx.Deadline()
	c.SetDeadline(deadline)
	io.WriteString(c, "through iproxy")
	got := make([]byte, len("through iproxy"))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("through iproxy: %v", err)
	}
	if string(got) != "through iproxy" {
		t.Errorf("through iproxy: %q comes back", got)
	}
}

// freeAddress returns an address that was free a moment ago, and its port. The tools take
// no port 0.
func freeAddress(t *testing.T) (address, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), port
}
