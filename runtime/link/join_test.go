package link

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// joined returns the outer ends of two connections that Join joins, and a channel that is
// closed when it returns.
func joined() (a, b net.Conn, done chan struct{}) {
	a, inner := Pipe()
	b, other := Pipe()
	done = make(chan struct{})
	go func() {
		defer close(done)
		Join(inner, other)
	}()
	return a, b, done
}

// TestJoin ends the directions one after the other.
func TestJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, done := joined()
		say(t, a, b, "question")
		if err := CloseWrite(a); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(b); len(rest) > 0 || err != nil {
			t.Errorf("after the half-close: %q, %v", rest, err)
		}
		say(t, b, a, "answer")
		select {
		case <-done:
			t.Error("Join returns before the other direction has ended")
		default:
		}
		b.Close()
		<-done
		if rest, err := io.ReadAll(a); len(rest) > 0 || err != nil {
			t.Errorf("after the end: %q, %v", rest, err)
		}
		a.Close()
	})
}

// broken is a connection that cannot be written to.
type broken struct{ net.Conn }

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

// TestJoinFails has one side fail while the other is silent.
func TestJoinFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, inner := Pipe()
		b, other := Pipe()
		go io.WriteString(a, "x")
		Join(inner, broken{other})
		for _, c := range []net.Conn{a, b} {
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("the outer end: %v, want the end", err)
			}
			c.Close()
		}
	})
}
