package crashreportcopymobile

import (
	"strings"
	"testing"
)

// readRoot is the request for the names in "/". names is an answer to it.
const (
	readRoot = "CFA6LPAA\x2a\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00/\x00"
	names    = "CFA6LPAA\x30\x00\x00\x00\x00\x00\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00.\x00..\x00x\x00\x00"
)

// FuzzReports sends arbitrary listings.
func FuzzReports(f *testing.F) { suite.FuzzClient(f, names, names[:40]) }

// FuzzProcessOf checks that the process is the beginning of any file name.
func FuzzProcessOf(f *testing.F) {
	f.Add("/SpringBoard-2024-01-01-120000.ips")
	f.Add("-2023-11-05-010203.ips")
	f.Add("a-2023-13-05-010203.ips/..")
	f.Fuzz(func(t *testing.T, file string) {
		if got := processOf(file); got != "" && !strings.Contains(file, got+"-") {
			t.Errorf("processOf(%q) = %q", file, got)
		}
	})
}

// FuzzDevice sends arbitrary data to the device side.
func FuzzDevice(f *testing.F) { suite.FuzzDevice(f, readRoot, "CFA6LPAA") }
