package phone

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// wantMoved checks a measurement a second after another.
func wantMoved(t *testing.T, p *Phone, u, old Usage) {
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
		all > p.prof.ram/PageSize {
		t.Errorf("%d pages of %d", all, p.prof.ram/PageSize)
	}
	if u.NetIn < old.NetIn || u.DiskRead < old.DiskRead ||
		u.MachTime-old.MachTime != machTicksPerSec {
		t.Errorf("%+v after %+v", u, old)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	now := files.Epoch.AddDate(1, 0, 0)
	p, err := New(Options{LogRate: -1, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	app, err := p.Launch("com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	old := p.Usage()
	of := func(u Usage, pid int) ProcessUsage {
		i := slices.IndexFunc(u.Processes, func(q ProcessUsage) bool { return q.PID == pid })
		if i < 0 {
			t.Fatalf("process %d is not measured", pid)
		}
		return u.Processes[i]
	}
	moved := 0
	for range 20 {
		now = now.Add(time.Second)
		u := p.Usage()
		wantMoved(t, p, u, old)
		if of(u, app.PID).CPU != of(old, app.PID).CPU {
			moved++
		}
		old = u
	}
	if moved < 15 || of(old, app.PID).CPU < 5 {
		t.Errorf("the app in front stands still: %+v", of(old, app.PID))
	}
	if err := p.Signal(app.PID, SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Usage()
	now = now.Add(time.Minute)
	if a, b := of(old, app.PID), of(p.Usage(), app.PID); b.CPU != 0 || b.User != a.User ||
		b.State != AppSuspended {
		t.Errorf("a stopped app runs: %+v after %+v", b, a)
	}
}

func TestListDirectory(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	for dir, want := range map[string]string{
		"/": "System", "/private/var": "mobile", "/var/": "mobile", "/usr/libexec": "lockdownd",
		"/var/mobile/Media":               "DCIM",
		"/private/var/mobile/Media/DCIM/": "100APPLE", "/Applications": "Preferences.app",
		"/var/mobile/Library/Logs/CrashReporter": "Panics",
		"/Applications/../usr":                   "sbin",
	} {
		if names, err := p.ListDirectory(dir); err != nil || !slices.Contains(names, want) ||
			!slices.IsSorted(names) {
			t.Errorf("%s has %q, %v, want %s", dir, names, err, want)
		}
	}
	for dir, want := range map[string]error{"": fs.ErrNotExist, "usr": fs.ErrNotExist,
		"/nowhere":  fs.ErrNotExist,
		"/var/root": fs.ErrPermission, "/var/mobile/Containers/Data": fs.ErrPermission,
		"/var/mobile/Media/none": fs.ErrNotExist} {
		if names, err := p.ListDirectory(dir); names != nil || !errors.Is(err, want) {
			t.Errorf("%q has %q, %v", dir, names, err)
		}
	}
	for _, d := range daemons {
		if id := UserID(d.user); id == -2 {
			t.Errorf("user %s has no identifier", d.user)
		} else if name, ok := p.UserName(id); name != d.user || !ok {
			t.Errorf("user %d is %s", id, name)
		}
	}
	if name, ok := p.GroupName(501); name != "mobile" || !ok || UserID("who") != -2 {
		t.Errorf("group 501 is %s", name)
	}
}

func BenchmarkUsage(b *testing.B) {
	p, err := New(Options{LogRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Usage()
	}
}
