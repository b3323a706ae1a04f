package main

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// browseNamespace is the variable that is set in the process with a network namespace of its own.
const browseNamespace = "IMDLUA_BROWSE_NAMESPACE"

// TestHostileBrowse browses on a terminal while a responder advertises control characters. It runs
// in a network namespace, separate from the network of the machine.
func TestHostileBrowse(t *testing.T) {
	if os.Getenv(browseNamespace) != "" {
		hostileBrowse(t)
		return
	}
	t.Parallel()
	linktest.NeedNamespaces(t)
	cmd := exec.CommandContext(t.Context(), "unshare", "-rn", os.Args[0],
		"-test.run=^TestHostileBrowse$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), browseNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestHostileBrowse/") {
		t.Fatalf("nothing was tested:\n%s", out)
	}
}

// hostileBrowse is the part of TestHostileBrowse that runs in the namespace.
func hostileBrowse(t *testing.T) {
	for _, line := range []string{"link set lo up", "link set lo multicast on"} {
		out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	s := bonjour.Service{
		Name: hostileName, Type: bonjour.Mobdev2, Host: hostileName, Port: bonjour.Mobdev2Port,
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.2")},
		TXT:       map[string]string{"identifier": hostileName},
	}
	a, err := bonjour.Advertise(t.Context(), []bonjour.Service{s}, bonjour.AdvertiseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	browse := func(args ...string) []string {
		return append([]string{"--timeout", "1s", "browse", "mobdev2"}, args...)
	}
	for _, test := range []hostileRow{
		{"list", browse("-i", "lo"), "\n" + shownName + "  lo  ", "", 0, wantPlain},
		{"text", browse("-i", "lo"), "identifier=" + shownName, "", 0, wantPlain},
		{"json", browse("-i", "lo", "--json"), `\u202e`, "", 0, wantPlain},
		{"trace", append([]string{"--trace", "all"}, browse("-i", "lo")...), shownName, "", 0,
			wantPlain},
		{"interface", browse("-i", hostileName), `A\x1b]0;owned`, "", 1, wantPlain},
		{"devices", []string{"--trace", "all", "--timeout", "5s", "devices", "--network"},
			`instance="A\x1b]0;owned`, "", 4, wantPlain},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startTerminal(t, nil, test.args...)
			s.want(t, test.code)
			<-s.read
			test.harmless(t, s.out.String())
			if !strings.Contains(s.out.String(), test.shown) {
				t.Errorf("it wrote %q, want %q in it", s.out, test.shown)
			}
		})
	}
}
