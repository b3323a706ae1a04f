//go:build linux

package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// asking starts a rig whose device answers the Trust dialog as mode says.
func asking(t *testing.T, mode trust.Mode) *rig {
	return plug(t, virtual.HostOptions{
		Device: virtual.Options{Phone: phone.Options{Trust: trust.Policy{Mode: mode}}},
	})
}

func TestIdevicePair(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	udid, p := r.phone().Identity.UDID, r.phone()
	r.want(result{out: "SUCCESS: Paired with device " + udid + "\n"}, "idevicepair", "pair")
	hosts := p.Trust.Hosts()
	if len(hosts) != 1 {
		t.Fatalf("the phone knows %d hosts, want 1", len(hosts))
	}
	r.want(result{out: hosts[0].SystemBUID + "\n"}, "idevicepair", "systembuid")
	r.want(result{out: hosts[0].HostID + "\n"}, "idevicepair", "hostid")
	r.want(result{out: "SUCCESS: Validated pairing with device " + udid + "\n"}, "idevicepair",
		"validate")

	// The tool lists the files of the system's folder, without asking usbmuxd.
	places := map[string]string{"/var/lib/lockdown": r.place("/var/lib/lockdown")}
	record, err := recordDir(r.records).Read(udid)
	if err != nil {
		t.Fatal(err)
	}
	if err := recordDir(places["/var/lib/lockdown"]).Write(udid, record); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { recordDir(places["/var/lib/lockdown"]).Delete(udid) })
	got := r.finish(r.room(places, "idevicepair", "list"))
	if got.code != 0 {
		t.Errorf("idevicepair list: exit status %d: %+v", got.code, got)
	}
	if !strings.Contains(got.out, udid+"\n") {
		t.Errorf("idevicepair list: %q, want %s", got.out, udid)
	}

	r.want(result{out: "SUCCESS: Unpaired with device " + udid + "\n"}, "idevicepair", "unpair")
	if n := len(p.Trust.Hosts()); n != 0 {
		t.Errorf("the phone still knows %d hosts", n)
	}
	if _, err := recordDir(r.records).Read(udid); err == nil {
		t.Error("the pair record is still there")
	}
	got = r.run("idevicepair", "unpair")
	want := fmt.Sprintf("ERROR: Device %s is not paired with this host\n", udid)
	if text := got.out + got.err; text != want {
		t.Errorf("unpair twice: %q, want %q", text, want)
	}
	if got.code != 1 {
		t.Errorf("unpair twice: exit status %d, want 1", got.code)
	}
}

// TestForgotten resets the pairing on the phone, as its settings can.
func TestForgotten(t *testing.T) {
	t.Parallel()
	r := asking(t, trust.Ask)
	p := r.phone()
	p.Trust.OnDialog(func(trust.Dialog) { p.Trust.TapTrust() })
	r.run("idevicepair", "pair") // raises the dialog
	r.output("idevicepair", "pair")
	p.Trust.Reset()
	if got := r.run("idevicepair", "validate"); got.code == 0 {
		t.Errorf("validate after the phone has forgotten: %+v", got)
	}
}

func TestTrustDialog(t *testing.T) {
	t.Parallel()
	fails := func(r *rig, text string) {
		t.Helper()
		got := r.wantStatus(1, text, "idevicepair", "pair")
		if udid := r.phone().Identity.UDID; !strings.Contains(got.out+got.err, udid) {
			t.Errorf("idevicepair pair: %+v, want the device %s in it", got, udid)
		}
	}
	const (
		please = "Please accept the trust dialog"
		denied = "user denied the trust dialog"
		locked = "passcode is set"
	)
	t.Run("denied by policy", func(t *testing.T) {
		r := asking(t, trust.Deny)
		fails(r, please)
		fails(r, denied)
	})
	t.Run("never answered", func(t *testing.T) {
		r := asking(t, trust.Ignore)
		fails(r, please)
		fails(r, please)
	})
	t.Run("tapped Trust", func(t *testing.T) {
		r := asking(t, trust.Ask)
		fails(r, please)
		dialog, ok := r.phone().Trust.ShownDialog()
		if !ok {
			t.Error("the phone shows no dialog")
		}
		if dialog.Label != "idevicepair" {
			t.Errorf("the phone shows the dialog %+v, want that of idevicepair", dialog)
		}
		r.phone().Trust.TapTrust()
		r.output("idevicepair", "pair")
		r.output("idevicepair", "validate")
	})
	t.Run("tapped Don't Trust, then Trust", func(t *testing.T) {
		r := asking(t, trust.Ask)
		fails(r, please)
		r.phone().Trust.TapDeny()
		fails(r, denied)
		fails(r, please) // the dialog comes again
		r.phone().Trust.TapTrust()
		r.output("idevicepair", "pair")
	})
	t.Run("locked", func(t *testing.T) {
		r := asking(t, trust.Accept)
		r.phone().Screen.SetPasscode(true)
		r.phone().Screen.Lock()
		fails(r, locked)
		r.phone().Screen.Unlock()
		r.output("idevicepair", "pair")
	})
}

// TestUnpairedIsRefused asks an untrusting phone for what needs trust.
func TestUnpairedIsRefused(t *testing.T) {
	t.Parallel()
	r := asking(t, trust.Ignore)
	for _, c := range [][]string{
		{"ideviceinfo"}, {"idevicediagnostics", "diagnostics"}, {"ideviceinstaller", "-l"},
		{"idevicecrashreport", "-k", r.dir}, {"idevicenotificationproxy", "post", "a.b.c"},
	} {
		if got := r.run(c[0], c[1:]...); got.code == 0 {
			t.Errorf("%q on a phone that does not trust: %+v", c, got)
		}
	}
	r.want(result{out: r.phone().Identity.Version + "\n"}, "ideviceinfo", "-s", "-k",
		"ProductVersion")
}
