package virtual_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// paired starts a virtual device, pairs with it and returns its muxer and record.
func paired(t *testing.T, serial int) (*virtual.Host, *usbmux.Client, string, *pair.Record) {
	t.Helper()
	h := virtualtest.Host(t, virtual.HostOptions{
		Device: virtual.Options{Phone: phone.Options{Serial: serial}},
	})
	mux, err := usbmux.New(usbmux.Options{Dial: h.Dial})
	if err != nil {
		t.Fatal(err)
	}
	ctx := virtualtest.Context(t)
	d, err := virtualtest.Finder(t, h, device.Options{}).Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Pair(ctx); err != nil {
		t.Fatal(err)
	}
	b, err := mux.ReadPairRecord(ctx, d.UDID())
	if err != nil {
		t.Fatal(err)
	}
	r, err := pair.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return h, mux, d.UDID(), r
}

// TestImpostor opens a session with a device that accepts the host, but is not the
// one of the pair record.
func TestImpostor(t *testing.T) {
	_, _, _, other := paired(t, 1)
	h, mux, udid, record := paired(t, 0)
	for name, test := range map[string]struct {
		certificate []byte
		want        error
	}{
		"the same device":    {record.DeviceCertificate, nil},
		"another device":     {other.DeviceCertificate, lockdown.ErrWrongKey},
		"the host's own key": {record.HostCertificate, lockdown.ErrWrongKey},
		"no certificate":     {nil, nil},
	} {
		r := *record
		r.DeviceCertificate = test.certificate
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		ctx := virtualtest.Context(t)
		if err := mux.SavePairRecord(ctx, udid, 0, b); err != nil {
			t.Fatal(err)
		}
		var warnings []string
		f := virtualtest.Finder(t, h, device.Options{OnWarning: func(text string, _ error) {
			warnings = append(warnings, text)
		}})
		d, err := f.Find(ctx, device.Selector{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Get(ctx, "", "PasswordProtected")
		if !errors.Is(err, test.want) {
			t.Errorf("%s: Get() = %v, want %v", name, err, test.want)
		}
		var want []string
		if test.certificate == nil {
			want = []string{"the pair record of " + udid + " has no DeviceCertificate: " +
				"the device is not authenticated"}
		}
		if !slices.Equal(warnings, want) {
			t.Errorf("%s: warnings = %q, want %q", name, warnings, want)
		}
		if test.want == nil {
			continue
		}
		if err := d.Pair(ctx); err != nil {
			t.Errorf("%s: Pair() = %v, want no error", name, err)
		}
		if _, err := d.Get(ctx, "", "PasswordProtected"); err != nil {
			t.Errorf("%s: Get() after Pair() = %v, want no error", name, err)
		}
	}
}
