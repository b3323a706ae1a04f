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

// wantMoved compares a measurement with one made a second earlier.
func wantMoved(t *testing.T, p *phone.Phone, u, old usage.Usage) {
	t.Helper()
	var sum, cores float64
	for i, q := range u.Processes {
		was := old.Processes[i]
		if q.PID != was.PID {
			t.Fatalf("%s: PID = %v, want %v", q.Name, q.PID, was.PID)
		}
		if q.User < was.User {
			t.Fatalf("%s: User went from %v back to %v", q.Name, was.User, q.User)
		}
		if q.System < was.System {
			t.Fatalf("%s: System went from %v back to %v", q.Name, was.System, q.System)
		}
		if q.DiskRead < was.DiskRead {
			t.Fatalf("%s: DiskRead went from %v back to %v", q.Name, was.DiskRead, q.DiskRead)
		}
		if q.Faults < was.Faults {
			t.Fatalf("%s: Faults went from %v back to %v", q.Name, was.Faults, q.Faults)
		}
		if q.ContextSwitches < was.ContextSwitches {
			t.Fatalf("%s: ContextSwitches went from %v back to %v", q.Name, was.ContextSwitches,
				q.ContextSwitches)
		}
		spent := (q.User + q.System - was.User - was.System).Seconds()
		if q.CPU < 0 {
			t.Errorf("%s: CPU = %v, want at least 0", q.Name, q.CPU)
		}
		if q.CPU > 100 {
			t.Errorf("%s: CPU = %v, want at most 100", q.Name, q.CPU)
		}
		if math.Abs(spent*100-(q.CPU+was.CPU)/2) > 5 {
			t.Errorf("%s: %.2f s in a second at %.2f%%", q.Name, spent, q.CPU)
		}
		if q.Footprint <= 0 {
			t.Errorf("%s: Footprint = %v, want more than 0", q.Name, q.Footprint)
		}
		if q.Resident <= q.Private {
			t.Errorf("%s: Resident = %v, want more than Private = %v", q.Name, q.Resident,
				q.Private)
		}
		if q.Threads < 1 {
			t.Errorf("%s: Threads = %v, want at least 1", q.Name, q.Threads)
		}
		sum += q.CPU
	}
	for _, load := range u.Cores {
		cores += load
	}
	if math.Abs(sum-u.Load) > 1e-6 {
		t.Errorf("load %v, want the sum %v of the processes", u.Load, sum)
	}
	if math.Abs(cores-u.Load) > 1e-6 {
		t.Errorf("load %v, want the sum %v of the cores", u.Load, cores)
	}
	if u.Load > 600 {
		t.Errorf("load %v, want at most 600", u.Load)
	}
	if all := u.Free + u.Used + u.External + u.Speculative; u.Free <= 0 {
		t.Errorf("%d free pages, want more than 0", u.Free)
	} else if all > p.Identity.RAM/usage.PageSize {
		t.Errorf("%d pages, want at most %d", all, p.Identity.RAM/usage.PageSize)
	}
	if u.NetIn < old.NetIn {
		t.Errorf("NetIn went from %v back to %v", old.NetIn, u.NetIn)
	}
	if u.DiskRead < old.DiskRead {
		t.Errorf("DiskRead went from %v back to %v", old.DiskRead, u.DiskRead)
	}
	if u.MachTime-old.MachTime != clock.MachTicks(time.Second) {
		t.Errorf("MachTime went from %d to %d in a second", old.MachTime, u.MachTime)
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
	if moved < 15 {
		t.Errorf("the load of the app in front changed %d times, want at least 15", moved)
	}
	if of(old, app.PID).CPU < 5 {
		t.Errorf("the app in front has a load of %v, want at least 5", of(old, app.PID).CPU)
	}
	if err := p.Processes.Signal(app.PID, processes.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Usage.Measure()
	now = now.Add(time.Minute)
	if a, b := of(old, app.PID), of(p.Usage.Measure(), app.PID); b.CPU != 0 {
		t.Errorf("a stopped app has a load of %v, want 0", b.CPU)
	} else if b.User != a.User {
		t.Errorf("a stopped app ran from %v to %v", a.User, b.User)
	} else if b.State != processes.Suspended {
		t.Errorf("a stopped app is %v, want %v", b.State, processes.Suspended)
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
