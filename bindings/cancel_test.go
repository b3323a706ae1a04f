package bindings_test

import (
	"bytes"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

var (
	cancelSeed  = flag.Uint64("cancel.seed", 0, "seed of TestCancelledOpenings; 0 takes a new one")
	cancelCount = flag.Int("cancel.count", 300, "how often TestCancelledOpenings opens each")
)

// opening is a call that opens an object.
type opening struct {
	name  string
	begin string // statements that make the variables that open uses
	open  string // an expression
}

var openings = []opening{
	{
		name: "service", begin: `local dev = device()`,
		open: `dev:service("com.apple.mobile.diagnostics_relay")`,
	},
	{
		name: "connect", begin: `local dev = virtual.start{ echo = 7 }:device()`,
		open: `dev:connect(7)`,
	},
	{
		name: "forward", begin: `local dev = device()`,
		open: `dev:forward{ remote_port = 62078 }`,
	},
	{name: "syslog", begin: `local dev = device()`, open: `dev:syslog()`},
	{name: "syslog_text", begin: `local dev = device()`, open: `dev:syslog_text()`},
	{
		name: "notifications", begin: `local dev = device()`,
		open: `dev:notifications("com.example.done")`,
	},
	{name: "heartbeat", begin: `local dev = device()`, open: `dev:heartbeat()`},
	{name: "watch", open: `device.watch()`},
	{
		name: "sysmon", begin: `local dev = virtual.start{ profile = "ios16" }:device()`,
		open: `dev:sysmon{ interval = 0.05 }`,
	},
	{
		name: "dvt", begin: `local dev = virtual.start{ profile = "ios16" }:device()`,
		open: `dev:dvt()`,
	},
	{
		name: "channel", begin: `local dvt = virtual.start{ profile = "ios16" }:device():dvt()`,
		open: `dvt:channel("deviceinfo")`,
	},
	{
		name: "output", begin: `local dev = virtual.start{ profile = "ios16" }:device()`,
		open: `dev:launch("com.example.shop", { output = true }):output()`,
	},
	{
		name: "xpc", begin: `local dev = device()`,
		open: `dev:xpc("com.apple.coredevice.deviceinfo")`,
	},
	{
		name: "file", begin: `local files = device().files`,
		open: `files:open("Downloads/a", "w")`,
	},
	{
		name: "tunnel connect", begin: `local tun = device():tunnel()`,
		open: `tun:connect(tun.rsd_port)`,
	},
	{name: "virtual device", open: `virtual.start{ wifi = true }`},
}

// cancelOpenings opens an object COUNT times, in five tasks at once. It cancels each task
// after a random time of up to 1.5 times the time that an opening takes.
const cancelOpenings = `
local virtual = require "imd.virtual"
BEGIN
local function open() return OPEN end
open():close()
local takes = time.measure(function() open():close() end)
begin()
for n = 1, COUNT, 5 do
  local tasks = {}
  for i = 1, 5 do
    tasks[i] = task.spawn(function() open() task.sleep(60) end)
  end
  for i = 1, 5 do
    pause(takes * 1.5)
    tasks[i]:cancel("enough")
  end
  for i = 1, 5 do
    local ok, e = try(tasks[i].join, tasks[i])
    if ok or e.code ~= "cancelled" then error(e) end
  end
end
finish()`

// TestCancelledOpenings makes every call of openings and cancels its task at a random
// moment before, during or after the opening. It checks that nothing is open when the
// tasks have ended.
func TestCancelledOpenings(t *testing.T) {
	seed := *cancelSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for i, o := range openings {
		t.Run(o.name, func(t *testing.T) {
			k := &counter{random: rand.New(rand.NewPCG(seed, uint64(i)))}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("seed: -cancel.seed=%d", seed)
				}
			})
			h, _, out := newHost(t)
			k.index = api.Registry(h)
			if err := api.Install(h, k.module()); err != nil {
				t.Fatal(err)
			}
			count := strconv.Itoa(*cancelCount)
			if testing.Short() {
				count = "30"
			}
			fill := strings.NewReplacer(
				"BEGIN", o.begin, "OPEN", o.open, "COUNT", count)
			runOn(t, h, out, fill.Replace(cancelOpenings))
		})
	}
}

// counter counts the goroutines, file descriptors and objects that are open in this
// process.
type counter struct {
	index *api.Index

	mu     sync.Mutex
	random *rand.Rand
	before counts
}

type counts struct{ goroutines, descriptors, handles int }

func (k *counter) module() *api.Module {
	return &api.Module{
		Name: "test_counter", Flat: true, Doc: "Counts.", Perm: "none",
		Funcs: []*api.Func{
			api.Function("begin", "Counts what is open now.", "", k.begin),
			api.Function("pause", "Waits for a random time.", "most", k.pause),
			api.Function("finish", "Fails if more is open than at begin.", "", k.finish),
		},
	}
}

func (k *counter) pause(c *api.Call, most float64) {
	k.mu.Lock()
	d := time.Duration(k.random.Float64() * most * float64(time.Second))
	k.mu.Unlock()
	c.Block(func(ctx context.Context) error {
		sleep(ctx, d)
		return nil
	})
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// begin stores the counts when they have not changed for a while. Objects that were
// closed before may still be ending.
func (k *counter) begin(c *api.Call) {
	c.Timeout(virtualtest.Deadline).Block(func(ctx context.Context) error {
		k.before = k.count()
		for same := 0; same < 20; same++ {
			sleep(ctx, 2*time.Millisecond)
			if now := k.count(); now != k.before {
				k.before, same = now, 0
			}
		}
		return ctx.Err()
	})
}

func (k *counter) finish(c *api.Call) {
	c.Timeout(virtualtest.Deadline / 4).Block(func(ctx context.Context) error {
		for {
			now := k.count()
			if !now.above(k.before) {
				return nil
			}
			sleep(ctx, 2*time.Millisecond)
			if ctx.Err() == nil {
				continue
			}
			var stacks bytes.Buffer
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			return host.Errorf("leak", "%+v are open, %+v were before\n%s", now, k.before, &stacks)
		}
	})
}

func (c counts) above(o counts) bool {
	return c.goroutines > o.goroutines || c.descriptors > o.descriptors || c.handles > o.handles
}

func (k *counter) count() counts {
	n := counts{goroutines: runtime.NumGoroutine()}
	// The list includes the descriptor of the folder itself, each time.
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		n.descriptors = len(list)
	}
	n.handles = openHandles(k.index)
	return n
}

// openHandles returns the number of open objects of an Index. It uses reflection, because
// package api does not export the number.
func openHandles(ix *api.Index) int {
	v := reflect.ValueOf(ix).Elem()
	mu := (*sync.Mutex)(unsafe.Pointer(v.FieldByName("openMu").UnsafeAddr()))
	mu.Lock()
	defer mu.Unlock()
	return v.FieldByName("open").Len()
}
