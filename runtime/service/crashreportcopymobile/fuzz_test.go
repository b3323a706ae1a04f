package crashreportcopymobile

import (
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// readRoot is the request for the names in "/", and names an answer to it.
const (
	readRoot = "CFA6LPAA\x2a\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00/\x00"
	names    = "CFA6LPAA\x30\x00\x00\x00\x00\x00\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00.\x00..\x00x\x00\x00"
)

// FuzzReports lets a device list anything.
func FuzzReports(f *testing.F) {
	f.Add([]byte(names))
	f.Add([]byte(names[:40]))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, call := range map[string]func(*Client) error{
			"Reports": func(c *Client) error {
				_, _, err := Reports(fuzztest.Context(t),
					c)
				return err
			},
			"Clear": func(c *Client) error { return Clear(fuzztest.Context(t), c) },
		} {
			here, there := link.Pipe()
			go fuzztest.Say(there, b)
			c := New(here)
			fuzztest.Typed[*afc.Error](t, name, call(c))
			c.Close()
		}
	})
}

// FuzzProcessOf reads the process from any name: it is the beginning of the name.
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

// FuzzDevice lets a host say anything to the device side.
func FuzzDevice(f *testing.F) {
	f.Add([]byte(readRoot))
	f.Add([]byte("CFA6LPAA"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := phone.New(phone.Options{LogRate: -1})
		if err != nil {
			t.Fatal(err)
		}
		err = fuzztest.Device(t, "copy", link.Pipe, b, (&Device{Phone: p}).Serve)
		fuzztest.Typed[*afc.Error](t, "Serve", err)
	})
}
