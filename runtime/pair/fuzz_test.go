package pair

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
)

// FuzzPublicKey uses any bytes as the device's key. The result must be a record or a
// typed error.
func FuzzPublicKey(f *testing.F) {
	f.Add([]byte("-----BEGIN RSA PUBLIC KEY-----\nMAYCAQECAQM=\n-----END RSA PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"))
	f.Add(testParams().DevicePublicKey)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := testParams()
		p.DevicePublicKey = b
		r, err := WithKeys(testKeys(), p)
		if (r == nil) == (err == nil) {
			t.Fatalf("WithKeys = %v, %v", r, err)
		}
		fuzztest.Typed[*Error](t, "WithKeys", err)
	})
}
