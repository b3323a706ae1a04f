package usage_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/phone/usage"
)

// wantMoved checks a measurement a second after another.
func wantMoved(t *testing.T, p *phone.Phone, u, old usage.Usage) {
	t.Helper()
	var sum, cores float64
	for i, q := range u.Processes {
		was := old.Processes[i]
		if q.PID != was.PID || q.User < was.User || q.System < was.System ||
			q.DiskRead < was.DiskRead || q.Faults < was.Faults ||
			q.ContextSwitches < was.ContextSwitches {
			t.Fatalf("counters went back: %+v after %+v", q, was)
		}
		spent := (q.User + q.System - was.User - was.System).Seconds()
		if q.CPU < 0 || q.CPU > 100 || math.Abs(spent*100-(q.CPU+was.CPU)/2) > 5 {
			t.Errorf("%s: %.2f s in a second at %.2f%%", q.Name, spent, q.CPU)
		}
		if q.Footprint <= 0 || q.Resident <= q.Private || q.Threads < 1 {
			t.Errorf("%+v", q)
		}
		sum += q.CPU
	}
	for _, load := range u.Cores {
		cores += load
	}
	if math.Abs(sum-u.Load) > 1e-6 || math.Abs(cores-u.Load) > 1e-6 || u.Load > 600 {
		t.Errorf("load %v, of processes %v, of cores %v", u.Load, sum, cores)
	}
	if all := u.Free + u.Used + u.External + u.Speculative; u.Free <= 0 ||
		all > p.Identity.RAM/usage.PageSize {
		t.Errorf("%d pages of %d", all, p.Identity.RAM/usage.PageSize)
	}
	if u.NetIn < old.NetIn || u.DiskRead < old.DiskRead ||
		u.MachTime-old.MachTime != clock.MachTicks(time.Second) {
		t.Errorf("%+v after %+v", u, old)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	now := files.Epoch.AddDate(1, 0, 0)
	p, err := phone.New(phone.Options{LogRate: -1, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	app, err := p.Processes.Launch("com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	old := p.Usage.Measure()
	of := func(u usage.Usage, pid int) usage.ProcessUsage {
		i := slices.IndexFunc(u.Processes, func(q usage.ProcessUsage) bool { return q.PID == pid })
		if i < 0 {
			t.Fatalf("process %d is not measured", pid)
		}
		return u.Processes[i]
	}
	moved := 0
	for range 20 {
		now = now.Add(time.Second)
		u := p.Usage.Measure()
		wantMoved(t, p, u, old)
		if of(u, app.PID).CPU != of(old, app.PID).CPU {
			moved++
		}
		old = u
	}
	if moved < 15 || of(old, app.PID).CPU < 5 {
		t.Errorf("the app in front stands still: %+v", of(old, app.PID))
	}
	if err := p.Processes.Signal(app.PID, processes.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Usage.Measure()
	now = now.Add(time.Minute)
	if a, b := of(old, app.PID), of(p.Usage.Measure(), app.PID); b.CPU != 0 || b.User != a.User ||
		b.State != processes.Suspended {
		t.Errorf("a stopped app runs: %+v after %+v", b, a)
	}
}

func BenchmarkUsage(b *testing.B) {
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Usage.Measure()
	}
}
