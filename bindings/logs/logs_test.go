package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/stdlib"
)

// recorded returns the bytes that a device sends when the log is started: its reply, and
// the records of n entries.
func recorded(t testing.TB, n int) (reply, records []byte) {
	t.Helper()
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	client, device := link.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ostracerelay.NewDevice(service.Env{Phone: p}).Serve(ctx, device)
	}()
	defer func() {
		cancel()
		client.Close()
		<-done
	}()
	var seen bytes.Buffer
	tee := &teeConn{Conn: client, seen: &seen}
	s, err := ostracerelay.New(tee).StartActivity(ctx, ostracerelay.Activity{})
	if err != nil {
		t.Fatal(err)
	}
	reply = bytes.Clone(seen.Bytes())
	seen.Reset()
	for i := range n {
		level := log.LevelDefault
		if i%4 == 0 {
			level = log.LevelError
		}
		p.Log.Write(log.Entry{
			PID: 1, Level: level, Subsystem: "com.example.shop", Category: "cart",
			Message: "item added to the cart, 3 items now",
		})
		if _, err := s.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return reply, seen.Bytes()
}

// teeConn is a connection that keeps the bytes that were read from it.
type teeConn struct {
	net.Conn
	seen *bytes.Buffer
}

func (c *teeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.seen.Write(p[:n])
	return n, err
}

// replay is a connection from which first is read once, then again in each of the rounds,
// and then io.EOF.
type replay struct {
	first, again []byte
	rounds       int    // rounds that are left
	rest         []byte // bytes of the current part that were not read yet
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		switch {
		case r.first != nil:
			r.rest = r.first
			r.first = nil
		case r.rounds > 0:
			r.rounds--
			r.rest = r.again
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *replay) Write(p []byte) (int, error)      { return len(p), nil }
func (r *replay) Close() error                     { return nil }
func (r *replay) LocalAddr() net.Addr              { return nil }
func (r *replay) RemoteAddr() net.Addr             { return nil }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }

// replayed returns a stream of the entries that pass o. The records are read rounds times.
func replayed(
	t testing.TB, reply, records []byte, rounds, queue int, o options,
) *stream.Stream {
	t.Helper()
	client := ostracerelay.New(&replay{first: reply, again: records, rounds: rounds})
	s, err := client.StartActivity(context.Background(), ostracerelay.Activity{})
	if err != nil {
		t.Fatal(err)
	}
	source := func(ctx context.Context, push func(...any)) error {
		err := pump(ctx, s, &o, push)
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	text := func(v any) string { return v.(*Entry).Message }
	return stream.New(source, s.Close, stream.Options{Kind: "syslog", Queue: queue, Text: text})
}

// newHost returns a host whose function lab.log returns the stream, and its output.
func newHost(t testing.TB, s *stream.Stream) (*host.Host, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out})
	t.Cleanup(func() { h.Close() })
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	open := func(c *api.Call) api.Opened[*stream.Stream] { return api.Own(c, s) }
	m := &api.Module{
		Name: "lab", Global: true, Doc: "Lab.", Perm: "none",
		Funcs: []*api.Func{api.Function("log", "Returns the stream.",
			"", open)},
		Classes: []*api.Class{stream.Class()},
		Records: Family().Records,
	}
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	return h, &out
}

func TestFilters(t *testing.T) {
	reply, records := recorded(t, 100)
	for _, c := range []struct {
		name string
		o    options
		want string
	}{
		{"all", options{}, "100"},
		{"level", options{Level: "error"}, "25"},
		{"process", options{Process: "launchd"}, "100"},
		{"other process", options{Process: "SpringBoard"}, "0"},
		{"subsystem", options{Subsystem: "com.example.shop", Category: "cart"}, "100"},
		{"other category", options{Category: "basket"}, "0"},
		{"match", options{Match: "3 items"}, "100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, out := newHost(t, replayed(t, reply, records, 1, 0, c.o))
			err := h.Run(context.Background(), "test.lua", `
local n = 0
for e in lab.log() do n = n + 1 end
io.write(n)`)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("%s entries, want %s", out.String(), c.want)
			}
		})
	}
}

// TestSlowScriptLosesTheOldest checks that the queue is bounded and that dropped counts
// the values that were lost.
func TestSlowScriptLosesTheOldest(t *testing.T) {
	reply, records := recorded(t, 100)
	s := replayed(t, reply, records, 10, 64, options{})
	h, out := newHost(t, s)
	err := h.Run(context.Background(), "test.lua", `
local entries = lab.log()
while entries.dropped < 1000 - 64 do task.sleep(0.001) end
local n = 0
for e in entries do n = n + 1 end
io.write(n, " ", entries.dropped)`)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "64 936" {
		t.Errorf("taken and dropped: %s, want 64 936", got)
	}
}

// BenchmarkLuaPredicate measures the time of one entry from its bytes to the result of a
// predicate in Lua.
func BenchmarkLuaPredicate(b *testing.B) {
	const block = 1000
	reply, records := recorded(b, block)
	rounds := (b.N + block - 1) / block
	s := replayed(b, reply, records, rounds, rounds*block, options{})
	h, _ := newHost(b, s)
	b.ReportAllocs()
	b.ResetTimer()
	err := h.Run(context.Background(), "bench.lua", `
local n = 0
local function shop(e) return e.level == "error" and e.subsystem == "com.example.shop" end
for e in lab.log():filter(shop) do n = n + 1 end`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(rounds*block)/b.Elapsed().Seconds(), "entries/s")
}
