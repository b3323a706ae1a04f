package ostracerelay

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// TestOddProcesses checks that one process that cannot be decoded does not hide the
// others.
func TestOddProcesses(t *testing.T) {
	t.Parallel()
	const good = "<key>7</key><dict><key>ProcessName</key><string>logd</string></dict>"
	for _, odd := range []string{
		"<key>x</key><dict/>", "<key>-1</key><dict/>", "<key>4294967296</key><dict/>",
	} {
		xml := "<plist><dict><key>Status</key><string>RequestSuccessful</string><key>Payload</key><dict>" +
			good + odd + "</dict></dict></plist>"
		b := append([]byte{1, 0, 0, 0, 0}, xml...)
		binary.BigEndian.PutUint32(b[1:], uint32(len(xml)))
		ctx, passed := link.WithPassed(t.Context())
		got, err := clientOf(t, b).PidList(ctx)
		if err != nil {
			t.Errorf("PidList with %s: %v", odd, err)
		}
		if want := []Process{{7, "logd"}}; !slices.Equal(got, want) {
			t.Errorf("PidList with %s = %v, want %v", odd, got, want)
		}
		if n, _ := passed.Count(); n != 1 {
			t.Errorf("PidList with %s passed %d entries over, want 1", odd, n)
		}
	}
}
