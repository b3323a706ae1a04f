package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// said is a message of the service of these tests.
type said struct {
	To   string `plist:"To,omitempty"` // the request that it answers
	Text string `plist:"Text,omitempty"`
}

func decodeSaid(body []byte) (m said, answers string, err error) {
	err = plist.Unmarshal(body, &m)
	return m, m.To, err
}

// demuxed runs f in a bubble with a Demux and the device's end of its connection.
func demuxed(t *testing.T, f func(t *testing.T, d *Demux[said], device *PlistConn)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		d := NewDemux(a, DemuxOptions[said]{
			Max: 1 << 10, Decode: decodeSaid, Queue: 4, Time: time.Minute,
		})
		defer d.Close()
		defer b.Close()
		f(t, d, NewPlistConn(b))
	})
}

// asked is what a request got.
type asked struct {
	text string
	err  error
}

// ask begins a request and returns when the device has received it.
func ask(t *testing.T, d *Demux[said], device *PlistConn, key string) <-chan asked {
	t.Helper()
	got := make(chan asked, 1)
	go func() {
		m, err := d.Ask(t.Context(), key, said{Text: key})
		got <- asked{m.Text, err}
	}()
	if _, err := device.RecvDict(t.Context()); err != nil {
		t.Fatal(err)
	}
	return got
}

func tell(t *testing.T, device *PlistConn, messages ...said) {
	t.Helper()
	for _, m := range messages {
		if err := device.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

func wantUnasked(t *testing.T, d *Demux[said], want string) {
	t.Helper()
	m, err := d.Next(t.Context())
	if err != nil || m.Text != want {
		t.Errorf("Next = %q (%v), want %q", m.Text, err, want)
	}
}

// TestDemux has answers and other messages in any order. Each reaches the one who waits
// for it.
func TestDemux(t *testing.T) {
	demuxed(t, func(t *testing.T, d *Demux[said], device *PlistConn) {
		first := ask(t, d, device, "a")
		second := ask(t, d, device, "a")
		other := ask(t, d, device, "b")
		tell(t, device, said{"", "event 1"}, said{"b", "for b"}, said{"a", "for first"},
			said{"", "event 2"}, said{"a", "for second"}, said{"a", "nobody asked"})
		for want, got := range map[string]<-chan asked{
			"for first": first, "for second": second, "for b": other,
		} {
			if r := <-got; r.err != nil || r.text != want {
				t.Errorf("Ask = %q (%v), want %q", r.text, r.err, want)
			}
		}
		for _, want := range []string{"event 1", "event 2", "nobody asked"} {
			wantUnasked(t, d, want)
		}
	})
}

// TestDemuxLateAnswer answers after the deadline. The answer must not reach the next
// request with the key.
func TestDemuxLateAnswer(t *testing.T) {
	demuxed(t, func(t *testing.T, d *Demux[said], device *PlistConn) {
		late := ask(t, d, device, "a")
		if r := <-late; !errors.Is(r.err, os.ErrDeadlineExceeded) {
			t.Errorf("Ask = %v, want its deadline", r.err)
		}
		next := ask(t, d, device, "a")
		tell(t, device, said{"a", "late"}, said{"a", "in time"})
		if r := <-next; r.text != "in time" {
			t.Errorf("Ask = %q (%v), want the second answer", r.text, r.err)
		}
	})
}

// TestDemuxBounds has a device that answers nothing, and one that sends without end.
func TestDemuxBounds(t *testing.T) {
	t.Run("requests", func(t *testing.T) {
		demuxed(t, func(t *testing.T, d *Demux[said], device *PlistConn) {
			for n := range maxAsked {
				ask(t, d, device, fmt.Sprint(n))
			}
			if _, err := d.Ask(t.Context(), "x", said{}); err != ErrUnanswered {
				t.Errorf("Ask = %v, want ErrUnanswered", err)
			}
		})
	})
	t.Run("messages", func(t *testing.T) {
		demuxed(t, func(t *testing.T, d *Demux[said], device *PlistConn) {
			waiting := ask(t, d, device, "a")
			for n := range 5 {
				tell(t, device, said{"", fmt.Sprint(n)})
			}
			if r := <-waiting; r.err != ErrUnread {
				t.Errorf("Ask = %v, want ErrUnread", r.err)
			}
			for n := range 4 {
				wantUnasked(t, d, fmt.Sprint(n))
			}
			if _, err := d.Next(t.Context()); err != ErrUnread {
				t.Errorf("Next = %v, want ErrUnread", err)
			}
		})
	})
}

// TestDemuxMalformed sends a message that cannot be decoded between two others.
func TestDemuxMalformed(t *testing.T) {
	demuxed(t, func(t *testing.T, d *Demux[said], device *PlistConn) {
		tell(t, device, said{"", "one"})
		if _, err := device.Write(AppendFrame(nil, []byte("hi"))); err != nil {
			t.Fatal(err)
		}
		tell(t, device, said{"", "two"})
		wantUnasked(t, d, "one")
		wantUnasked(t, d, "two")
		if n := d.Malformed(); n != 1 {
			t.Errorf("%d malformed messages, want 1", n)
		}
	})
}

// TestDemuxEnds ends the connection below calls that wait.
func TestDemuxEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(d *Demux[said], device *PlistConn)
		want error
	}{
		"device": {func(_ *Demux[said], device *PlistConn) { device.Close() }, io.EOF},
		"host":   {func(d *Demux[said], _ *PlistConn) { d.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			demuxed(t, func(t *testing.T, d *Demux[said], device *PlistConn) {
				waiting := ask(t, d, device, "a")
				next := make(chan error, 1)
				go func() { _, err := d.Next(context.Background()); next <- err }()
				synctest.Wait()
				test.end(d, device)
				if r := <-waiting; !errors.Is(r.err, test.want) {
					t.Errorf("Ask = %v, want %v", r.err, test.want)
				}
				if err := <-next; !errors.Is(err, test.want) {
					t.Errorf("Next = %v, want %v", err, test.want)
				}
			})
		})
	}
}
