package stream

import (
	"slices"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	for _, c := range []struct{ pieces, want []string }{
		{[]string{"a\nb\n"}, []string{"a", "b"}},
		{[]string{"a", "b\n\nc"}, []string{"ab", "", "c"}},
		{[]string{"a\r", "\nb\r\n"}, []string{"a", "b"}},
		{[]string{long, "y\n"}, []string{long, "y"}},
		{nil, nil},
	} {
		var got []string
		push := func(v ...any) {
			for _, s := range v {
				got = append(got, s.(string))
			}
		}
		var l Lines
		for _, p := range c.pieces {
			l.Add(p, push)
		}
		l.End(push)
		if !slices.Equal(got, c.want) {
			t.Errorf("%.20q gives %.20q, want %.20q", c.pieces, got, c.want)
		}
	}
}
