package link

import (
	"errors"
	"reflect"
	"strconv"
	"testing"
)

func TestPassed(t *testing.T) {
	t.Parallel()
	PassOver(t.Context(), errors.New("nobody listens"))
	ctx, p := WithPassed(t.Context())
	n, first := p.Count()
	if n != 0 {
		t.Errorf("Count() = %d before anything was passed over", n)
	}
	if first != nil {
		t.Errorf("Count() has the error %v before anything was passed over", first)
	}
	one := errors.New("one")
	PassOver(ctx, one)
	PassOver(ctx, errors.New("two"))
	n, first = p.Count()
	if n != 2 {
		t.Errorf("Count() = %d, want 2", n)
	}
	if first != one {
		t.Errorf("the first error of Count() = %v, want %v", first, one)
	}
}

func TestDecodeList(t *testing.T) {
	t.Parallel()
	odd := errors.New("odd")
	decode := func(n int) (string, error) {
		if n < 0 {
			return "", odd
		}
		return strconv.Itoa(n), nil
	}
	for _, test := range []struct {
		name   string
		in     []int
		want   []string
		passed int
		err    error
	}{
		{"empty", nil, []string{}, 0, nil},
		{"whole", []int{1, 2}, []string{"1", "2"}, 0, nil},
		{"one odd entry", []int{1, -1, 2, -2}, []string{"1", "2"}, 2, nil},
		{"odd entries alone", []int{-1, -2}, nil, 2, odd},
	} {
		ctx, p := WithPassed(t.Context())
		got, err := DecodeList(ctx, test.in, decode)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: DecodeList = %q, want %q", test.name, got, test.want)
		}
		if err != test.err {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		}
		if n, _ := p.Count(); n != test.passed {
			t.Errorf("%s: %d entries passed over, want %d", test.name, n, test.passed)
		}
	}
}
