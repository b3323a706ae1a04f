//go:build linux

package interop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/virtual"
)

const echoPort = 4242

func echoing(t *testing.T) *rig {
	t.Helper()
	return plug(t, virtual.HostOptions{Count: 2, Device: virtual.Options{Echo: echoPort}})
}

// noise is n bytes that no codec leaves alone by chance.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte("noise"))).Read(b)
	return b
}

func TestIproxy(t *testing.T) {
	t.Parallel()
	r := echoing(t)
	address, local := freeAddress(t)
	p := r.start("iproxy", "-u", r.machine().UDID(), fmt.Sprintf("%s:%d", local, echoPort))
	p.line("waiting for connection")
	for range 3 {
		var d net.Dialer
		c, err := d.DialContext(r.ctx, "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		// Closed at the end of the test: the tool waits for the wrong one of a
		// pair of descriptors once an earlier connection has left a gap.
		defer c.Close()
		deadline, _ := r.ctx.Deadline()
		c.SetDeadline(deadline)
		// Piece by piece, so that nothing depends on how much the tool holds.
		sent := noise(1 << 20)
		for piece := range slices.Chunk(sent, 16<<10) {
			if _, err := c.Write(piece); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(piece))
			_, err := io.ReadFull(c, got)
			if err != nil {
				t.Fatalf("through iproxy: %v", err)
			}
			if !bytes.Equal(got, piece) {
				t.Fatalf("through iproxy: %d bytes came back that differ from those sent", len(got))
			}
		}
	}
}

func TestInetcat(t *testing.T) {
	t.Parallel()
	r := echoing(t)
	for _, m := range r.host.Devices() {
		p := r.launch(r.command("inetcat", "-u", m.UDID(), fmt.Sprint(echoPort)))
		for i := range 3 {
			text := fmt.Sprintf("line %d to %s", i, m.UDID())
			io.WriteString(p.in, text+"\n")
			if got := p.line("line"); got != text {
				t.Errorf("inetcat gave %q, want %q", got, text)
			}
		}
		m.Detach()
		if code := p.wait(); code != 0 {
			t.Errorf("exit status %d after the phone was unplugged", code)
		}
	}
	if got := r.run("inetcat", "9"); got.code != 1 {
		t.Errorf("inetcat without a device: %+v", got)
	}
	if err := r.machine().Replug(); err != nil {
		t.Fatal(err)
	}
	r.wantStatus(1, "Error connecting to device", "inetcat", "9")
}

// TestImageMounter looks the developer image up, and again when it is gone.
func TestImageMounter(t *testing.T) {
	t.Parallel()
	r := one(t, "ios16")
	r.run("idevicepair", "pair")
	for _, mounted := range []bool{true, false} {
		if !mounted {
			r.phone().Image.Unmount()
		}
		got := r.run("ideviceimagemounter", "-l")
		if got.code != 0 {
			t.Errorf("ideviceimagemounter -l: exit status %d: %+v", got.code, got)
		}
		if want := fmt.Sprintf("ImagePresent: %v", mounted); !strings.Contains(got.out, want) {
			t.Errorf("ideviceimagemounter -l: %q, want %s", got.out, want)
		}
	}
}

// TestRefusedServices asks for what the phone does not have, or does not do for
// a host without a session.
func TestRefusedServices(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"idevicescreenshot", "shot.png"}, "Could not start screenshotr service"},
	} {
		r.wantStatus(255, c.want, c.args[0], c.args[1:]...)
	}
	// This version of the tool asks without a session.
	got := r.run("ideviceenterrecovery", r.phone().Identity.UDID)
	if !strings.Contains(got.out+got.err, "Failed to enter recovery mode.") {
		t.Errorf("ideviceenterrecovery: %+v, want a failure", got)
	}
	if !r.machine().Attached() {
		t.Error("the phone is not attached after ideviceenterrecovery")
	}
}
