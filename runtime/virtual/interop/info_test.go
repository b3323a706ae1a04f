//go:build linux

package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// xml is a value in the one form in which values of both sides compare.
func xml(t *testing.T, v any) string {
	t.Helper()
	b, err := plist.Encode(v, plist.XML)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// decoded reads the property list that a program printed.
func decoded(t *testing.T, out string) any {
	t.Helper()
	v, err := plist.Decode([]byte(strings.TrimSpace(out)))
	if err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return v
}

func TestIdeviceID(t *testing.T) {
	t.Parallel()
	r := plug(t, virtual.HostOptions{Count: 3})
	all := ""
	for _, m := range r.host.Devices() {
		all += m.UDID() + "\n"
	}
	r.want(result{out: all}, "idevice_id", "-l")
	second := r.host.Devices()[1]
	r.want(result{out: second.Phone().Values.Name() + "\n"}, "idevice_id", second.UDID())
	second.Detach()
	r.want(result{out: strings.Replace(all, second.UDID()+"\n", "", 1)}, "idevice_id", "-l")
	got := r.run("idevice_id", second.UDID())
	if got.code == 0 {
		t.Error("idevice_id of an unplugged device succeeds")
	}
	if !strings.Contains(got.err, "No device with UDID "+second.UDID()) {
		t.Errorf("idevice_id of an unplugged device: %+v", got)
	}
}

func TestIdeviceInfo(t *testing.T) {
	t.Parallel()
	for _, profile := range identity.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			r := one(t, profile)
			p := r.phone()
			r.want(result{out: p.Identity.Version + "\n"}, "ideviceinfo", "-k", "ProductVersion")
			r.want(result{}, "ideviceinfo", "-k", "NoSuchKey")
			infoText(t, r)
			for _, domain := range p.Values.DomainNames() {
				if len(p.Values.Domain(domain)) == 0 {
					continue
				}
				args := []string{"-x"}
				if domain != "" {
					args = append(args, "-q", domain)
				}
				infoXML(t, r, p.Values.Domain(domain), args...)
			}
			infoXML(t, r, p.Values.PublicDomain(), "-x", "-s")
		})
	}
}

// infoText checks the plain listing against the model, one line a value.
func infoText(t *testing.T, r *rig) {
	lines := "\n" + r.output("ideviceinfo")
	n := 0
	for key, v := range r.phone().Values.Domain("") {
		switch v.(type) {
		case string, bool, int64, uint64:
			n++
			if line := fmt.Sprintf("\n%s: %v\n", key, v); !strings.Contains(lines, line) {
				t.Errorf("ideviceinfo lacks the line %q", line)
			}
		default:
			if !strings.Contains(lines, "\n"+key) {
				t.Errorf("ideviceinfo lacks %s", key)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d plain values: the model is poor", n)
	}
}

func infoXML(t *testing.T, r *rig, want plist.Dict, args ...string) {
	t.Helper()
	got, ok := decoded(t, r.output("ideviceinfo", args...)).(plist.Dict)
	if !ok {
		t.Fatalf("ideviceinfo %q printed no dictionary", args)
	}
	if clock, ok := got.Real("TimeIntervalSince1970"); ok && clock > 0 {
		got["TimeIntervalSince1970"] = want["TimeIntervalSince1970"]
	}
	if got, want := xml(t, got), xml(t, want); got != want {
		t.Errorf("ideviceinfo %q:\n%s\nwant\n%s", args, got, want)
	}
}

func TestSeveralDevices(t *testing.T) {
	t.Parallel()
	r := plug(t, virtual.HostOptions{Count: 3})
	for _, m := range r.host.Devices() {
		r.want(result{out: m.UDID() + "\n"}, "ideviceinfo", "-u", m.UDID(), "-k", "UniqueDeviceID")
		serial, _ := m.Phone().Values.Get("", "SerialNumber")
		r.want(result{out: serial.(string) + "\n"}, "ideviceinfo", "-u", m.UDID(), "-k",
			"SerialNumber")
	}
	if got := r.run("ideviceinfo", "-u", "00008120-0000000000000000"); got.code == 0 {
		t.Errorf("ideviceinfo of no device: %+v", got)
	}
}

func TestIdeviceName(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	r.want(result{out: r.phone().Values.Name() + "\n"}, "idevicename")
	const name = "Bjørn's 📱 & <friends>"
	r.want(result{out: "device name set to '" + name + "'\n"}, "idevicename", name)
	if got := r.phone().Values.Name(); got != name {
		t.Errorf("the phone's name is %q, want %q", got, name)
	}
	r.want(result{out: name + "\n"}, "idevicename")
}

func TestIdeviceDate(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 6, 10, 12, 0, 0, 0, time.UTC)
	for profile, settable := range map[string]bool{"ios16": true, "ios17": false} {
		r := plug(t, virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{
			Profile: profile, Clock: func() time.Time { return now },
		}}})
		r.want(result{out: "Mon Jun 10 12:00:00 UTC 2024\n"}, "idevicedate")
		if !settable {
			r.want(result{out: "ERROR: Failed to set date on device.\n"}, "idevicedate", "-s",
				"1700000000")
			r.want(result{out: "Mon Jun 10 12:00:00 UTC 2024\n"}, "idevicedate")
			continue
		}
		const past = "Tue Nov 14 22:13:20 UTC 2023\n"
		r.want(result{out: past}, "idevicedate", "-s", "1700000000")
		r.want(result{out: past}, "idevicedate")
		if got := r.phone().Clock.Now().Unix(); got != 1_700_000_000 {
			t.Errorf("the phone's clock is at %d", got)
		}
	}
}
