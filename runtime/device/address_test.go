package device

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in, host string
		port     uint16
	}{
		{"192.168.2.7", "192.168.2.7", 62078},
		{"192.168.2.7:1234", "192.168.2.7", 1234},
		{"fe80::1%en0", "fe80::1%en0", 62078},
		{"[fe80::1%en0]", "fe80::1%en0", 62078},
		{"[fe80::1%en0]:1234", "fe80::1%en0", 1234},
		{"ana.local", "ana.local", 62078},
		{"ana.local:7", "ana.local", 7},
	} {
		host, port, err := ParseAddress(c.in)
		if err != nil {
			t.Errorf("ParseAddress(%q): %v", c.in, err)
		}
		if host != c.host {
			t.Errorf("ParseAddress(%q) = %q, want the host %q", c.in, host, c.host)
		}
		if port != c.port {
			t.Errorf("ParseAddress(%q) = %d, want the port %d", c.in, port, c.port)
		}
	}
	for _, in := range []string{
		"", ":62078", "192.168.2.7:0", "192.168.2.7:70000", "192.168.2.7:", "a b", "http://a",
		"a:b:c", "[a", "x/y",
	} {
		host, port, err := ParseAddress(in)
		if err == nil {
			t.Errorf("ParseAddress(%q) = %q, %d, want an error", in, host, port)
		}
	}
}

// questions is a network on which nothing is advertised. It records what is asked.
type questions struct {
	asked []bonjour.Query
	err   error
}

func (q *questions) Browse(_ context.Context, asked bonjour.Query) ([]bonjour.Instance, error) {
	q.asked = append(q.asked, asked)
	return nil, q.err
}

// TestBrowseAsksLoopback checks that a browse asks every network on the loopback interface
// as well, and fails only if all networks fail.
func TestBrowseAsksLoopback(t *testing.T) {
	broken := errors.New("broken")
	one, two := &questions{}, &questions{err: broken}
	f := NewFinder(Options{Browser: one})
	defer f.Close()
	f.AddBrowser(two)
	if _, err := f.Browse(t.Context(), bonjour.Query{Type: bonjour.Mobdev2}); err != nil {
		t.Errorf("Browse of a network that works and one that does not: %v", err)
	}
	for _, q := range []*questions{one, two} {
		if len(q.asked) != 1 {
			t.Fatalf("asked %v, want one query", q.asked)
		}
		if !q.asked[0].Loopback {
			t.Errorf("asked %+v, want the loopback interface as well", q.asked[0])
		}
	}
	one.err = broken
	_, err := f.Browse(t.Context(), bonjour.Query{Type: bonjour.Mobdev2})
	if !errors.Is(err, broken) {
		t.Errorf("Browse of broken networks = %v, want their error", err)
	}
	none := NewFinder(Options{})
	defer none.Close()
	_, err = none.Browse(t.Context(), bonjour.Query{Type: bonjour.Mobdev2})
	if !errors.Is(err, bonjour.ErrNoInterface) {
		t.Errorf("Browse without a network = %v, want %v", err, bonjour.ErrNoInterface)
	}
}

// TestRestrictedSearch checks which types a search asks for if only one kind of route may
// be used.
func TestRestrictedSearch(t *testing.T) {
	for kind, want := range map[string][]bonjour.Type{
		"":       {bonjour.Mobdev2, bonjour.Remoted, bonjour.RemotePairing},
		"wifi":   {bonjour.Mobdev2, bonjour.RemotePairing},
		"usb":    {bonjour.Remoted},
		"tunnel": nil,
	} {
		var asked questions
		f := NewFinder(Options{Browser: turns{&asked}})
		r, err := f.Restricted(Restriction{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.List(t.Context(), Selector{Network: true}); err != nil {
			t.Errorf("%s: List: %v", kind, err)
		}
		f.Close()
		var got []bonjour.Type
		for _, q := range asked.asked {
			got = append(got, q.Type)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: asked for %q, want %q", kind, got, want)
		}
	}
}

// turns lets one query at a time through.
type turns struct{ *questions }

var turn = make(chan struct{}, 1)

func (q turns) Browse(ctx context.Context, asked bonjour.Query) ([]bonjour.Instance, error) {
	turn <- struct{}{}
	defer func() { <-turn }()
	return q.questions.Browse(ctx, asked)
}

// TestRestrictedFinders checks that the same restriction gives the same Finder, and that
// bad addresses of muxers are errors.
func TestRestrictedFinders(t *testing.T) {
	f := NewFinder(Options{})
	defer f.Close()
	same, err := f.Restricted(Restriction{})
	if err != nil {
		t.Errorf("Restricted by nothing: %v", err)
	}
	if same != f {
		t.Errorf("Restricted by nothing = %p, want %p", same, f)
	}
	a, err := f.Restricted(Restriction{Kind: "usb", NoPair: true})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := f.Restricted(Restriction{Kind: "usb", NoPair: true}); a != b {
		t.Error("the same restriction gives another Finder")
	}
	if b, _ := f.Restricted(Restriction{Kind: "usb"}); a == b {
		t.Error("another restriction gives the same Finder")
	}
	if _, err := f.Restricted(Restriction{Muxer: "nowhere"}); err == nil {
		t.Error("a muxer without a port is accepted")
	}
}
