package linktest

import (
	"os"
	"os/exec"
	"testing"
)

// NeedNamespaces skips a test that runs in network namespaces of its own if the kernel
// forbids them. A missing tool also skips it, but fails it in CI.
func NeedNamespaces(tb testing.TB) {
	tb.Helper()
	for _, tool := range []string{"unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				tb.Fatalf("%s is missing (packages util-linux, iproute2)", tool)
			}
			tb.Skipf("%s is missing", tool)
		}
	}
	probe := exec.CommandContext(tb.Context(), "unshare", "-rn",
		"ip", "link", "add", "h0", "type", "veth", "peer", "name", "d0")
	if out, err := probe.CombinedOutput(); err != nil {
		tb.Skipf("the kernel forbids network namespaces: %v: %s", err, out)
	}
}
