package tunneld

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/rsd"
)

// held returns the number of goroutines and, if the system reports it, of open files.
func held() (goroutines, files int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	return runtime.NumGoroutine(), len(entries)
}

// TestSockets uses the machine's loopback interface, while other tests run in memory,
// and checks that nothing is left behind. It is not parallel, because it counts
// goroutines.
func TestSockets(t *testing.T) {
	goroutines, files := held()
	deadline := time.Now().Add(time.Minute)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for range 3 {
		useSockets(ctx, t)
	}
	// The ends of connections are noticed after a moment.
	for time.Now().Before(deadline) {
		if g, f := held(); g <= goroutines && f <= files {
			return
		}
		runtime.Gosched()
	}
	g, f := held()
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines and %d files, before %d and %d\n%s", g, f, goroutines, files,
		buf[:runtime.Stack(buf, true)])
}

func local(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func useSockets(ctx context.Context, t *testing.T) {
	t.Helper()
	listeners := [2]net.Listener{local(t), local(t)}
	g := newGadget(t)
	defer g.die()
	k := &keeper{}
	k.add(g, udid)
	s := &Server{Manager: k}
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx, listeners[0], listeners[1]) }()
	defer func() {
		s.Close()
		if err := <-result; err != nil {
			t.Errorf("Serve = %v", err)
		}
	}()
	python, goios := listeners[0].Addr().String(), listeners[1].Addr().String()
	e, err := Start(ctx, python, udid)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && !strings.HasPrefix(e.Address.String(), "127.77.") {
		t.Errorf("the tunnel is at %v, want an alias", e.Address)
	}
	agents := mustList(t, &Client{Address: goios}, 1)
	for _, e := range []Entry{e, agents[0]} {
		c, err := rsd.Dial(ctx, e.Dial, e.RSDPort, rsd.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, _ := c.Find("com.apple.afc")
		wantEcho(t, e.Dial, s.Port)
		c.Close()
	}
	for address, want := range map[string]API{python: Python, goios: GoIOS} {
		id, err := Identify(ctx, address)
		if err != nil {
			t.Errorf("Identify %s: %v", address, err)
		}
		if !id.Ours {
			t.Errorf("Identify %s = %v, which is not ours", address, id)
		}
		if id.API != want {
			t.Errorf("Identify %s: API %v, want %v", address, id.API, want)
		}
	}
	nc, err := agents[0].Dial(ctx, rsdPort)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := (&Client{Address: python}).get(ctx, "/shutdown", time.Minute); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := io.Copy(io.Discard, nc); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a relayed connection outlives the server: %v", err)
	}
}
