package remotepair

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/tlv8"
)

func TestWhichPIN(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		consent, pinless bool
		model, want      string
	}{
		"dialog":              {true, false, "iPhone15,2", pinless},
		"dialog on a TV":      {true, false, "AppleTV11,1", pinless},
		"without any":         {false, true, "iPhone15,2", pinless},
		"TV that promises":    {false, true, "AppleTV11,1", "123456"},
		"device with a PIN":   {false, false, "RealityDevice14,1", "123456"},
		"says nothing of PIN": {false, false, "", "123456"},
	} {
		client := &Client{info: DeviceInfo{Model: c.model, AllowsPinlessPairing: c.pinless},
			o: Options{PIN: func(context.Context) (string, error) { return "123456", nil }}}
		if got, err := client.pin(t.Context(), c.consent); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// The bytes are those that the protocol page gives.
func TestBackOffBytes(t *testing.T) {
	t.Parallel()
	list, err := tlv8.Decode([]byte{7, 1, 3, 8, 2, 0x7C, 0x20, 6, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	e := pairingError("pair", &pairingData{list: list})
	if e == nil || !errors.Is(e, ErrBackOff) || e.Retry != 0x207C*time.Second ||
		e.Error() != "remotepair: pair M2: too many attempts, wait (3)" {
		t.Errorf("%v", e)
	}
	if e := pairingError("pair", &pairingData{}); e != nil {
		t.Errorf("no error item: %v", e)
	}
}
