package dtsimulatelocation

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
)

// FuzzRead checks that a request that is read is the same after it was written and read
// again.
func FuzzRead(f *testing.F) {
	f.Add([]byte(setSheet))
	f.Add([]byte(clearSheet))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x03NaN\x00\x00\x00\x041e99"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Bounded(t, len(b), func() {
			r, err := Read(bytes.NewReader(b))
			if err != nil || !written(r.Latitude) || !written(r.Longitude) {
				return
			}
			again, err := Read(bytes.NewReader(Append(nil, r)))
			if err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
			if again != r {
				t.Errorf("%+v became %+v", r, again)
			}
		})
	})
}

// written reports whether Append writes a number in a form that Read accepts. It uses no
// exponents, and no number is equal to NaN.
func written(v float64) bool {
	return v == v && len(strconv.FormatFloat(v, 'f', -1, 64)) <= maxNumber
}

// FuzzDevice sends arbitrary requests to the device side.
func FuzzDevice(f *testing.F) { suite.FuzzDevice(f, setSheet, clearSheet) }
