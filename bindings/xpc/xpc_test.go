package xpc

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	bindcore "github.com/imdlua/imdlua/bindings/coredevice"
	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/stdlib"
)

// lab serves connections in memory.
type lab struct {
	work sync.WaitGroup
}

func (l *lab) dial(h service.Handler) net.Conn {
	client, dev := link.Pipe()
	l.work.Go(func() {
		defer dev.Close()
		h.Serve(context.Background(), dev)
	})
	return client
}

// kinds serves a connection. It replies to a request with the Go types of the values that
// it received.
func kinds(ctx context.Context, c *remotexpc.Conn) error {
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			return nil // the host closed the connection
		}
		if _, ok := m.Body.Get("bye"); ok {
			return c.Shutdown(ctx)
		}
		if !m.WantsReply() {
			_ = c.Send(ctx, xpc.Dict{{Key: "said", Value: m.Body}})
			continue
		}
		out := xpc.Dict{}
		for _, p := range m.Body {
			out.Set(p.Key, fmt.Sprintf("%T", p.Value))
		}
		out.Set("body", m.Body)
		out.Set("big", uint64(1<<63))
		out.Set("file", xpc.NewFileTransfer(7, 5))
		if _, ok := m.Body.Get("unmarked"); ok {
			_ = c.Send(ctx, out)
			continue
		}
		if _, ok := m.Body.Get("silent"); ok {
			continue
		}
		_ = c.Reply(ctx, m, out)
	}
}

// run runs Lua text with a function connect, which returns a connection that x serves.
// features serves the second connection of invoke.
func run(t *testing.T, source string, x service.Handler, features service.Handler) string {
	t.Helper()
	l := &lab{}
	opened := func(ctx context.Context) (*Connection, error) {
		rx, err := remotexpc.Connect(ctx, l.dial(x), remotexpc.Options{})
		if err != nil {
			return nil, err
		}
		feature := func(ctx context.Context) (*coredevice.Conn, error) {
			return coredevice.New(ctx, l.dial(features), coredevice.Options{})
		}
		run := func(c *api.Call, t device.Timeout, f func(context.Context) error) error {
			return c.Timeout(t.Timeout).TryBlock(f)
		}
		return newConnection("lab", "0000", rx, feature, run), nil
	}
	connect := api.Function("connect", "Connects.",
		"", func(c *api.Call) (api.Opened[*Connection], error) { return api.Open(c, opened) })
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out, Stderr: &out})
	h.MapError(func(err error) *host.Error {
		for _, known := range []device.Explain{explain, bindcore.Family().Explain} {
			code, _ := known(err)
			if code != "" {
				return &host.Error{Code: code, Message: err.Error()}
			}
		}
		return nil
	})
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	m := &api.Module{
		Name: "lab", Flat: true, Doc: "Lab.", Perm: "none",
		Classes: []*api.Class{connectionClass()}, Funcs: []*api.Func{connect},
	}
	if err := api.Install(h, Module(), m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Run(ctx, "test.lua", source); err != nil {
		var report bytes.Buffer
		h.Report(&report, err)
		t.Fatalf("%s\n%s", out.String(), report.String())
	}
	if err := h.Close(); err != nil {
		t.Errorf("closing the host: %v", err)
	}
	l.work.Wait() // until the device side of every connection has ended
	return out.String()
}

func TestConnection(t *testing.T) {
	t.Parallel()
	got := run(t, `
local xpc = require "imd.xpc"
local svc = connect()
print(svc, svc.name)
local id = xpc.uuid("5d5c7d5e-8b4b-4c7c-9d0a-1f3b2a6c4d5e")
local r = svc:call{
  text = "a", whole = 5, minus = -5, frac = 1.5, real = plist.real(5),
  big64 = int64("9007199254740993"), unsigned = uint64("5"),
  yes = true, nothing = null, bytes = data("ab"), id = id, when = time.now(),
  list = array{ 1, "x", null }, none = array{}, empty = {}, dict = { a = { b = 1 } },
}
for _, k in ipairs{
  "text", "whole", "minus", "frac", "real", "big64", "unsigned", "yes", "nothing", "bytes",
  "id", "when", "list", "none", "empty", "dict",
} do
  print(k, r[k])
end
local b = r.body
print(b.text, b.whole, b.frac, b.big64, b.unsigned, b.yes)
print(b.nothing == null, b.bytes:string(), b.id == tostring(id), b.list[2], #b.none, b.dict.a.b)
print(r.big, r.file["$class"], r.file.id)
svc:send{ hello = "there" }
print(svc:recv().said.hello)
print(svc:call({ unmarked = true }, { any_reply = true }).unmarked)
for _, f in ipairs{
  function() svc:call({ silent = true }, { timeout = 0.05 }) end,
  function() svc:recv{ timeout = 0.05 } end,
  function() svc:call{ "a", "list" } end,
  function() svc:call{ f = print } end,
  function() svc:send("text") end,
  function() xpc.uuid("xyz") end,
} do
  local ok, e = try(f)
  print(ok, e.code)
end
print(svc:call{ still = true }.still)
svc:send{ bye = true }
print(svc:recv())
local ok, e = try(svc.call, svc, { x = 1 })
print(ok, e.code ~= nil)`, &remotexpc.Device{Handle: kinds}, nil)
	want := `XPC<lab on 0000>	lab
text	string
whole	int64
minus	int64
frac	float64
real	float64
big64	int64
unsigned	uint64
yes	bool
nothing	xpc.Null
bytes	[]uint8
id	xpc.UUID
when	time.Time
list	[]interface {}
none	[]interface {}
empty	xpc.Dict
dict	xpc.Dict
a	5	1.5	9007199254740993	5	true
true	ab	true	x	0	1
9223372036854775808	file transfer	7
there
bool
false	timeout
false	timeout
false	argument
false	argument
false	argument
false	argument
bool
nil
false	true
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestInvoke invokes features of the CoreDevice service of a virtual device.
func TestInvoke(t *testing.T) {
	t.Parallel()
	p, err := phone.New(phone.Options{LogRate: -1, Profile: "ios17"})
	if err != nil {
		t.Fatal(err)
	}
	features := (&coredevice.Device{Phone: p}).Handler(coredevice.DeviceInfo)
	got := run(t, `
local svc = connect()
print(type(svc:invoke("getlockstate")))
print(type(svc:invoke("com.apple.coredevice.feature.getdeviceinfo", {})))
for _, f in ipairs{
  function() svc:invoke("nothing") end,
  function() svc:invoke("getlockstate", { f = print }) end,
} do
  local ok, e = try(f)
  print(ok, e.code)
end`, &remotexpc.Device{Handle: kinds}, features)
	if want := "table\ntable\nfalse\tunsupported\nfalse\targument\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDecode decodes values that a service may send but a script cannot.
func TestDecode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want any }{
		{xpc.FD(3), map[string]any{"$class": "file descriptor", "number": uint64(3)}},
		{
			xpc.SharedMemory{Length: 9},
			map[string]any{"$class": "shared memory", "length": uint64(9)},
		},
		{[]any{xpc.Null{}, xpc.UUID{}}, []any{nil, "00000000-0000-0000-0000-000000000000"}},
	} {
		if got := decode(test.in); !reflect.DeepEqual(got, test.want) {
			t.Errorf("decode(%v) = %#v, want %#v", test.in, got, test.want)
		}
	}
	if v, err := encode(map[string]any{"x": struct{}{}}); err == nil {
		t.Errorf("encode of a struct = %v, want an error", v)
	}
}
