//go:build linux

package interop

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/virtual"
)

// TestLibimobiledevice uses the services for which libimobiledevice has functions but no
// program, with a small program in C.
func TestLibimobiledevice(t *testing.T) {
	t.Parallel()
	r := plug(t, virtual.HostOptions{Device: virtual.Options{Heartbeat: time.Second}})
	source, err := filepath.Abs("testdata/services.c")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(r.dir, "services")
	r.output("gcc", "-Wall", "-o", program, source, "-ldl")

	const name = "com.apple.mobile.lockdown.request_pair"
	r.want(result{out: name + "\n"}, program, "insecure", name)
	if n := len(r.phone().Trust.Hosts()); n != 0 {
		t.Errorf("the phone knows %d hosts, want none before a session", n)
	}
	r.output("idevicepair", "pair")
	r.want(result{out: "Marco 1\nMarco 1\n"}, program, "heartbeat")
}
