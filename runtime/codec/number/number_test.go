package number

import (
	"math"
	"testing"
)

func TestWiden(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want any }{
		{int(-1), int64(-1)},
		{int8(math.MinInt8), int64(math.MinInt8)},
		{int16(math.MinInt16), int64(math.MinInt16)},
		{int32(math.MinInt32), int64(math.MinInt32)},
		{int64(math.MinInt64), int64(math.MinInt64)},
		{uint(1), uint64(1)},
		{uint8(math.MaxUint8), uint64(math.MaxUint8)},
		{uint16(math.MaxUint16), uint64(math.MaxUint16)},
		{uint32(math.MaxUint32), uint64(math.MaxUint32)},
		{uint64(math.MaxUint64), uint64(math.MaxUint64)},
		{float32(0.5), 0.5},
		{0.1, 0.1},
		{"1", "1"},
		{true, true},
		{nil, nil},
	} {
		if got := Widen(tc.in); got != tc.want {
			t.Errorf("Widen(%T %v) = %T %v, want %T %v", tc.in, tc.in, got, got, tc.want, tc.want)
		}
	}
}

func TestDecoded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in            any
		i             int64
		u             uint64
		f             float64
		isInt, isUint bool
		isReal        bool
	}{
		{int64(-2), -2, math.MaxUint64 - 1, -2, true, false, true},
		{int64(2), 2, 2, 2, true, true, true},
		{uint64(math.MaxInt64), math.MaxInt64, math.MaxInt64, math.MaxInt64, true, true, true},
		{uint64(1 << 63), math.MinInt64, 1 << 63, 1 << 63, false, true, true},
		{0.5, 0, 0, 0.5, false, false, true},
		{"2", 0, 0, 0, false, false, false},
		{nil, 0, 0, 0, false, false, false},
	} {
		if i, ok := Int(tc.in); i != tc.i || ok != tc.isInt {
			t.Errorf("Int(%v) = %d, %t", tc.in, i, ok)
		}
		if u, ok := Uint(tc.in); u != tc.u || ok != tc.isUint {
			t.Errorf("Uint(%v) = %d, %t", tc.in, u, ok)
		}
		if f, ok := Real(tc.in); f != tc.f || ok != tc.isReal {
			t.Errorf("Real(%v) = %v, %t", tc.in, f, ok)
		}
	}
}
