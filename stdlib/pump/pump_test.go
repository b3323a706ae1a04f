package pump

import (
	"io"
	"testing"
)

// TestLongestLine checks that it does not depend on the pieces in which a line arrives
// whether it is too long.
func TestLongestLine(t *testing.T) {
	t.Parallel()
	const limit = 8
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"12345678\n", nil},
		{"12345678\r\n", nil},
		{"12345678", nil},
		{"123456789\n", errLong},
		{"123456789\r\n", errLong},
		{"12345678\rx\n", errLong},
	} {
		for split := range len(tc.in) {
			r, w := io.Pipe()
			p := New(r, func() { r.Close() }, 1, false)
			go p.Run()
			go func() {
				_, _ = io.WriteString(w, tc.in[:split])
				_, _ = io.WriteString(w, tc.in[split:])
				w.Close()
			}()
			line, ok, err := p.line(limit)
			for !ok && err == nil {
				if err := p.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				line, ok, err = p.line(limit)
			}
			if err != tc.want {
				t.Errorf("%q split at %d: error %v, want %v", tc.in, split, err, tc.want)
			} else if ok && string(line) != tc.in[:limit] {
				t.Errorf("%q split at %d: line %q", tc.in, split, line)
			}
			p.End(nil)
			<-p.Gone()
		}
	}
}
