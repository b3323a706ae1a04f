package main

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestPlainValue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value         any
		plain, inJSON string
	}{
		{1.5, "1.5", "1.5"},
		{1e21, "1000000000000000000000", "1e+21"},
		{1e-7, "0.0000001", "1e-7"},
		{float32(0.1), "0.1", "0.1"},
		{2.0, "2", "2"},
		{math.Inf(-1), "-Inf", `"-Inf"`},
		{math.NaN(), "NaN", `"NaN"`},
		{float32(math.Inf(1)), "+Inf", `"+Inf"`},
		{int64(-7), "-7", "-7"},
		{uint64(math.MaxUint64), "18446744073709551615", "18446744073709551615"},
		{true, "true", "true"},
		{[]byte{1, 2}, "AQI=", `"AQI="`},
		{plist.UID(5), "CF$UID 5", `{"CF$UID":5}`},
		{"1e5", "1e5", `"1e5"`},
	} {
		if got := plainValue(test.value); got != test.plain {
			t.Errorf("plainValue(%v) = %q, want %q", test.value, got, test.plain)
		}
		b, err := json.Marshal(jsonValue(test.value))
		if err != nil {
			t.Errorf("%v in JSON: %v", test.value, err)
		}
		if string(b) != test.inJSON {
			t.Errorf("%v is %s in JSON, want %s", test.value, b, test.inJSON)
		}
	}
}
