package progress

import (
	"math"
	"testing"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ got, want string }{
		{Bytes(0), "0 B"}, {Bytes(1023), "1023 B"}, {Bytes(1024), "1.0 KiB"},
		{Bytes(1024*1024 - 1), "1.0 MiB"}, {Bytes(1.5 * 1024 * 1024), "1.5 MiB"},
		{Bytes(-2048), "-2.0 KiB"}, {Bytes(math.Pow(2, 70)), "1048576.0 PiB"},
		{Clock(-1), "0:00"}, {Clock(59.6), "1:00"}, {Clock(3725), "1:02:05"},
		{Clock(math.Inf(1)), "long"}, {Clock(math.NaN()), "long"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
