package dvt

import (
	"context"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/usage"
)

// Limits on the configuration by a host.
const (
	maxAttributes  = 256
	shortestSample = 10 * time.Millisecond
	longestSample  = time.Hour

	rowSystem    = 33 // Type of the row about the device
	rowProcesses = 5
)

// tapConfig is the configuration that a host has sent.
type tapConfig struct {
	interval time.Duration
	procs    []func(*processSample) any
	system   []func(*usage.Usage) any
	cpu      bool
}

// tap is the device side of a sysmontap channel.
type tap struct {
	phone *phone.Phone
	ch    *dtx.Channel

	mu     sync.Mutex
	config tapConfig
	cancel context.CancelFunc // ends the goroutine that sends samples
	done   chan struct{}
}

func sysmon(s *session, ch *dtx.Channel) dtx.Handler {
	t := &tap{phone: s.phone, ch: ch, config: tapConfig{interval: time.Second}}
	return dtx.Methods{
		selConfig: t.configure,
		selStart:  t.start,
		selStop: func(ctx context.Context, _ dtx.Args) (any, error) {
			t.stop(ctx)
			return nil, nil
		},
	}
}

func (t *tap) configure(_ context.Context, args dtx.Args) (any, error) {
	d, ok := args.Dict(0)
	if !ok {
		return nil, badArguments(selConfig)
	}
	c := tapConfig{interval: time.Second}
	procs, ok1 := nameList(d, "procAttrs")
	system, ok2 := nameList(d, "sysAttrs")
	if !ok1 || !ok2 {
		return nil, badArguments(selConfig)
	}
	c.procs, c.system = columns(procs, processAttributes), columns(system, systemAttributes)
	flag, _ := d.Get("cpuUsage")
	c.cpu, _ = dtx.Args{flag}.Bool(0)
	// pymobiledevice3 sends the period in sampleInterval and 1 in ur. go-ios sends it in
	// ur and always 500 ms in sampleInterval.
	update, _ := d.Real("ur")
	sample, _ := d.Real("sampleInterval")
	if wanted := max(update*float64(time.Millisecond), sample); wanted > 0 {
		c.interval = time.Duration(
			min(max(wanted, float64(shortestSample)), float64(longestSample)),
		)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.config = c
	return nil, nil
}

// nameList reads a list of attributes. The list may be missing.
func nameList(d nskeyed.Dict, key string) ([]string, bool) {
	v, given := d.Get(key)
	list, ok := dtx.Args{v}.Array(0)
	if !given {
		return nil, true
	}
	if !ok || len(list) > maxAttributes {
		return nil, false
	}
	names := make([]string, len(list))
	for i, v := range list {
		names[i], ok = v.(string)
		if !ok {
			return nil, false
		}
	}
	return names, true
}

// start starts to send samples. If samples are already being sent, it starts again.
func (t *tap) start(ctx context.Context, _ dtx.Args) (any, error) {
	t.stop(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	run, cancel := context.WithCancel(t.ch.Context())
	done := make(chan struct{})
	config := t.config
	if !t.ch.Go(func(context.Context) {
		defer close(done)
		defer cancel()
		t.run(run, config)
	}) {
		cancel()
		return nil, nil
	}
	t.cancel, t.done = cancel, done
	return nil, nil
}

// stop stops the samples. None is sent after the answer.
func (t *tap) stop(ctx context.Context) {
	t.mu.Lock()
	cancel, done := t.cancel, t.done
	t.cancel, t.done = nil, nil
	t.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// run sends a message that the tap has started, and then samples. A host that reads
// slowly gets fewer samples.
func (t *tap) run(ctx context.Context, c tapConfig) {
	begun := nskeyed.TapMessage{
		Class:   "DTSysmonTapMessage",
		Content: nskeyed.Dict{{Key: "k", Value: int64(0)}, {Key: "tv", Value: int64(65536)}},
	}
	if t.ch.SendObject(ctx, dtx.Object, begun) != nil {
		return
	}
	clock := time.NewTicker(c.interval)
	defer clock.Stop()
	last := t.phone.Clock.MachTime()
	for first := true; ; first = false {
		u := t.phone.Usage.Measure()
		if t.ch.SendObject(ctx, dtx.Data, c.rows(&u, last, first)) != nil {
			return
		}
		last = u.MachTime
		select {
		case <-clock.C:
		case <-ctx.Done():
			return
		}
	}
}

// rows returns the rows of a sample. The row about the processor comes first, because
// go-ios uses only the first row.
func (c tapConfig) rows(u *usage.Usage, since uint64, first bool) []any {
	head := nskeyed.Dict{
		{Key: "CPUCount", Value: int64(len(u.Cores))},
		{Key: "EnabledCPUs", Value: int64(len(u.Cores))},
		{Key: "EndMachAbsTime", Value: u.MachTime},
		{Key: "StartMachAbsTime", Value: since},
		{Key: "Type", Value: int64(rowSystem)},
	}
	if c.cpu {
		cores := make([]any, len(u.Cores))
		for i, load := range u.Cores {
			cores[i] = loadDict(load)
		}
		head = append(head, nskeyed.Pair{Key: "PerCPUUsage", Value: cores},
			nskeyed.Pair{Key: "SystemCPUUsage", Value: loadDict(u.Load)})
	}
	if len(c.system) > 0 {
		head = append(head, nskeyed.Pair{Key: "System", Value: values(c.system, u)})
	}
	rows := []any{head}
	if len(c.procs) == 0 {
		return rows
	}
	procs := make(nskeyed.Dict, 0, len(u.Processes))
	for i := range u.Processes {
		p := processSample{ProcessUsage: &u.Processes[i], now: u.Time, first: first}
		procs = append(procs, nskeyed.Pair{Key: int64(p.PID), Value: values(c.procs, &p)})
	}
	return append(rows, nskeyed.Dict{
		{Key: "EndMachAbsTime", Value: u.MachTime},
		{Key: "Processes", Value: procs},
		{Key: "StartMachAbsTime", Value: since},
		{Key: "Type", Value: int64(rowProcesses)},
	})
}

// loadDict returns a load of which only the total is known, as devices send it.
func loadDict(total float64) nskeyed.Dict {
	return nskeyed.Dict{{Key: "CPU_NiceLoad", Value: 0.0}, {Key: "CPU_SystemLoad", Value: -1.0},
		{Key: "CPU_TotalLoad", Value: total}, {Key: "CPU_UserLoad", Value: -1.0}}
}
