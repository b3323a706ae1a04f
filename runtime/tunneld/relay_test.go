package tunneld

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/rsd"
)

// TestRelayBytes covers the preamble of the protocol sheet's example, and invalid ones.
func TestRelayBytes(t *testing.T) {
	t.Parallel()
	const good = "\xfd\x6c\x7a\x1e\x52\xb3\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	for name, tt := range map[string]struct{ in, want string }{
		"a service":       {good + "\x00\xc0\x00\x00hello", "49152:hello"},
		"no such port":    {good + "\x01\x00\x00\x00hello", ""},
		"port 0":          {good + "\x00\x00\x00\x00", ""},
		"big-endian":      {good + "\x00\x00\xe2\xb2", ""},
		"another address": {good[:15] + "\x02\x00\xc0\x00\x00hello", ""},
		"half a preamble": {good, ""},
		"nothing":         {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				b.plug(udid)
				c, err := b.mesh.dial(context.Background(), "tcp", "127.0.0.1:60106")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				for i := range len(tt.in) { // one byte at a time
					io.WriteString(c, tt.in[i:i+1])
					synctest.Wait()
				}
				if tt.want != "" {
					got := make([]byte, len(tt.want))
					_, err := io.ReadFull(c, got)
					wantText(t, "the relay's answer", string(got), err, tt.want)
					return
				}
				begin := time.Now()
				got, _ := io.ReadAll(c) // the relay closes the connection
				if len(got) != 0 {
					t.Errorf("the relay answers %q, want nothing", got)
				}
				if took := time.Since(begin); took > preambleTimeout {
					t.Errorf("the relay closes after %v, want %v at most", took, preambleTimeout)
				}
			})
		})
	}
}

// TestRelayLimit checks that connections above the limit are closed and the others
// served.
func TestRelayLimit(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		e := b.list(GoIOSAddress)[0]
		for range maxConns {
			c, err := e.Dial(context.Background(), rsd.FirstPort)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			synctest.Wait()
		}
		if got, err := echo(e.Dial, rsd.FirstPort); got != "" {
			t.Errorf("one more is served: %q, %v", got, err)
		}
	})
}
