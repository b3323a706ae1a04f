package phone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogFillsIn(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	board, _ := p.ProcessNamed("SpringBoard")
	w := p.WatchLog(LogWatchOptions{PID: -1})
	defer w.Close()
	p.Log(LogEntry{PID: board.PID, Message: "hello"})
	p.Log(LogEntry{PID: 77_777, Message: "from nobody"})
	p.Log(LogEntry{PID: 0, ImagePath: "/lib/x", Message: "kernel", Level: LevelFault, ThreadID: 5})
	e, err := w.Next(t.Context())
	if err != nil || e.ProcessPath != board.Path || e.ProcessUUID != board.UUID ||
		e.ImagePath != board.Path || e.ImageUUID != board.UUID ||
		e.Time.IsZero() || e.MachTime == 0 || e.ThreadID == 0 {
		t.Errorf("Next = %+v, %v", e, err)
	}
	if e, err = w.Next(t.Context()); err != nil || e.ProcessPath != "<pid 77777>" {
		t.Errorf("Next = %+v, %v", e, err)
	}
	if e, err = w.Next(t.Context()); err != nil || e.ProcessPath != "/kernel" ||
		e.ImagePath != "/lib/x" || e.ThreadID != 5 {
		t.Errorf("Next = %+v, %v", e, err)
	}
}

func TestWatchFilters(t *testing.T) {
	t.Parallel()
	levels := []LogLevel{LevelDefault, LevelInfo, LevelDebug, LevelError, LevelFault}
	for _, c := range []struct {
		opts LogWatchOptions
		want string
	}{
		{LogWatchOptions{PID: -1}, "0 Notice,0 Error,0 Fault,1 Notice,1 Error,1 Fault"},
		{LogWatchOptions{PID: 0}, "0 Notice,0 Error,0 Fault"},
		{LogWatchOptions{PID: 1, Info: true}, "1 Notice,1 Info,1 Error,1 Fault"},
		{LogWatchOptions{PID: 1, Debug: true}, "1 Notice,1 Debug,1 Error,1 Fault"},
		{
			LogWatchOptions{PID: 0, Info: true, Debug: true},
			"0 Notice,0 Info,0 Debug,0 Error,0 Fault",
		},
		{LogWatchOptions{PID: 500_000, Info: true, Debug: true}, ""},
	} {
		p := newPhone(t, Options{})
		w := p.WatchLog(c.opts)
		for pid := range 2 {
			for _, l := range levels {
				p.Log(LogEntry{PID: pid, Level: l, Message: "m"})
			}
		}
		buf := make([]*LogEntry, 20)
		n, _ := w.q.take(buf)
		var got []string
		for _, e := range buf[:n] {
			got = append(got, fmt.Sprintf("%d %s", e.PID, e.Level))
		}
		if s := strings.Join(got, ","); s != c.want {
			t.Errorf("%+v: %s, want %s", c.opts, s, c.want)
		}
		w.Close()
	}
	if s := LogLevel(3).String(); s != "Level(3)" {
		t.Errorf("String = %s", s)
	}
}

// TestWatchDropsOldest: the writer never waits for a reader.
func TestWatchDropsOldest(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	w := p.WatchLog(LogWatchOptions{PID: -1, Queue: 10})
	defer w.Close()
	for i := range 25 {
		p.Log(LogEntry{Message: fmt.Sprint(i)})
	}
	if w.Dropped() != 15 {
		t.Errorf("Dropped = %d, want 15", w.Dropped())
	}
	buf := make([]*LogEntry, 4)
	want := 15
	for want < 25 {
		n, err := w.NextBatch(t.Context(), buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range buf[:n] {
			if e.Message != fmt.Sprint(want) {
				t.Errorf("message %s, want %d", e.Message, want)
			}
			want++
		}
	}
	if n, err := w.NextBatch(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("NextBatch into nothing = %d, %v", n, err)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{})
		w := p.WatchLog(LogWatchOptions{PID: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next past its deadline = %v", err)
		}
		failed := make(chan error)
		go func() {
			_, err := w.Next(context.Background())
			failed <- err
		}()
		synctest.Wait()
		w.Close()
		w.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next on a closed watch = %v", err)
		}
		p.Log(LogEntry{Message: "unheard"})
		if _, err := w.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next after Close = %v", err)
		}
	})
}

// TestGeneratorRate: the phone talks at the rate asked for, and only while
// somebody listens.
func TestGeneratorRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 0.5, 3, 500, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			p := newPhone(t, Options{})
			p.SetLogRate(rate)
			want := uint64(normalRate(rate) * 10)
			w := p.WatchLog(LogWatchOptions{PID: -1, Queue: 1})
			past := p.log.gen.count.Load()
			time.Sleep(10*time.Second + time.Millisecond)
			synctest.Wait()
			made := p.log.gen.count.Load() - past
			if made+want/100+1 < want || made > want+want/100+1 {
				t.Errorf("rate %v: %d lines in 10 s, want about %d", rate, made, want)
			}
			w.Close()
			past = p.log.gen.count.Load()
			time.Sleep(10 * time.Second)
			if more := p.log.gen.count.Load() - past; more != 0 {
				t.Errorf("rate %v: %d lines with nobody listening", rate, more)
			}
		})
	}
}

// TestGeneratorStops: synctest fails the test if a goroutine is left.
func TestGeneratorStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{LogRate: 100})
		a, b := p.WatchLog(LogWatchOptions{PID: -1}), p.WatchLog(LogWatchOptions{PID: -1})
		time.Sleep(time.Second)
		a.Close()
		if _, err := b.Next(t.Context()); err != nil {
			t.Errorf("closing one watch ended the other: %v", err)
		}
		p.SetLogRate(-1)
		past := p.log.gen.count.Load()
		time.Sleep(time.Second)
		if p.log.gen.count.Load() != past {
			t.Error("a silenced phone talks")
		}
		p.SetLogRate(50)
		time.Sleep(time.Second)
		if p.log.gen.count.Load() == past {
			t.Error("a phone that may talk again is silent")
		}
		b.Close()
	})
}

// TestGeneratedLines holds their form, and that a phone says the same again.
func TestGeneratedLines(t *testing.T) {
	t.Parallel()
	p, q := newPhone(t, Options{LogRate: 20}), newPhone(t, Options{LogRate: 20})
	at := time.Now()
	a, b := p.log.lines(3000, at, time.Second), q.log.lines(3000, at, time.Second)
	levels, processes, images := map[LogLevel]int{}, map[string]int{}, map[string]int{}
	for i, e := range a {
		if e.Message != b[i].Message || e.PID != b[i].PID {
			t.Fatalf("line %d is %q and %q", i, e.Message, b[i].Message)
		}
		levels[e.Level]++
		processes[e.ProcessPath]++
		images[e.ImagePath]++
		if proc, ok := p.Process(e.PID); !ok || proc.Path != e.ProcessPath ||
			proc.UUID != e.ProcessUUID {
			t.Fatalf("%+v is of no process", e)
		}
		if e.Message == "" || strings.ContainsAny(e.Message,
			"\n\x00") || (e.Subsystem == "") != (e.Category == "") ||
			e.ImageUUID == [16]byte{} || e.MachTime == 0 || e.Time.Before(at) ||
			e.Time.After(at.Add(time.Second)) {
			t.Fatalf("odd entry %+v", e)
		}
		for _, left := range []string{"{n}", "{p}", "{x}", "{X}", "{u}", "{app}"} {
			if strings.Contains(e.Message, left) {
				t.Fatalf("%s is left in %q", left, e.Message)
			}
		}
		if i > 0 && (e.Time.Before(a[i-1].Time) || e.MachTime < a[i-1].MachTime) {
			t.Fatalf("line %d is older than the one before", i)
		}
	}
	if len(levels) != 5 || len(processes) < 20 || len(images) < 20 {
		t.Errorf("levels %v, %d processes, %d images", levels, len(processes), len(images))
	}
	if other := newPhone(t, Options{Serial: 1}); other.log.lines(1, at,
		0)[0].Message == a[0].Message && other.log.lines(1, at, 0)[0].Message == a[1].Message {
		t.Error("two phones say the same")
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{LogRate: 20})
	p.Log(LogEntry{Message: "first of all"})
	h := p.LogHistory()
	if len(h) != backlog+1 || h[backlog].Message != "first of all" {
		t.Fatalf("%d entries, last %+v", len(h), h[len(h)-1])
	}
	for i, e := range h[1:] {
		if e.Time.Before(h[i].Time) {
			t.Errorf("entry %d is older than the one before", i+1)
		}
	}
	for i := range historySize + 10 {
		p.Log(LogEntry{Message: fmt.Sprint(i)})
	}
	h = p.LogHistory()
	if len(h) != historySize || h[0].Message != "10" ||
		h[historySize-1].Message != fmt.Sprint(historySize+9) {
		t.Errorf("%d entries, from %s to %s", len(h), h[0].Message, h[len(h)-1].Message)
	}
	if h := newPhone(t, Options{}).LogHistory(); len(h) != 0 {
		t.Errorf("a silent phone has a past of %d entries", len(h))
	}
}

func TestObserver(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	a, b := p.ObserveNotifications(), p.ObserveNotifications()
	defer b.Close()
	a.Add("one")
	a.Add("one")
	a.Add("two")
	b.Add("two")
	if got := strings.Join(a.Names(), ","); got != "one,two" {
		t.Errorf("Names = %s", got)
	}
	for _, n := range []string{"one", "two", "three"} {
		p.Post(n)
	}
	a.Remove("one")
	p.Post("one")
	if got := strings.Join(heard(a), ","); got != "one,two" {
		t.Errorf("a heard %s", got)
	}
	if got := strings.Join(heard(b), ","); got != "two" {
		t.Errorf("b heard %s", got)
	}
	a.Close()
	a.Close()
	if _, err := a.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next after Close = %v", err)
	}
	if len(p.events.observers) != 1 {
		t.Errorf("%d observers are left, want 1", len(p.events.observers))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with a cancelled context = %v", err)
	}
	for range observerQueue + 3 {
		p.Post("two")
	}
	if b.Dropped() != 3 {
		t.Errorf("Dropped = %d, want 3", b.Dropped())
	}
}

// TestConcurrentUse lets everything run at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{LogRate: 5000})
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 3 {
		w, o := p.WatchLog(LogWatchOptions{PID: -1, Debug: true}), p.ObserveNotifications()
		o.Add(NoteDeviceName)
		readers.Go(func() {
			defer w.Close()
			for buf := make([]*LogEntry, 16); ; {
				if _, err := w.NextBatch(ctx, buf); err != nil {
					return
				}
			}
		})
		readers.Go(func() {
			defer o.Close()
			for {
				if _, err := o.Next(ctx); err != nil {
					return
				}
			}
		})
	}
	for i, fn := range []func(int){
		func(k int) { _ = p.SetValue("", "DeviceName", fmt.Sprint("n", k)) },
		func(k int) { p.SetBattery(k%100, k%2 == 0); p.Domain("com.apple.mobile.battery") },
		func(int) { p.Domain(""); p.PublicDomain(); p.Gestalt(nil) },
		func(int) { proc, _ := p.Launch("com.example.shop"); _ = p.Kill(proc.PID) },
		func(int) { p.Processes(); p.LogHistory(); p.IORegistry("", "", "") },
		func(k int) { p.SetLogRate(float64(k)*10 + 1) },
		func(int) { _, _ = p.AddApp(AppSpec{BundleID: "x.y"}); p.Apps(); _ = p.RemoveApp("x.y") },
		func(k int) {
			if k%20 == 0 {
				p.Boot()
			}
			p.Lock()
			p.Locked()
			p.Unlock()
		},
	} {
		writers.Go(func() {
			for k := range 60 {
				fn(k + i)
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

func benchWatch(b *testing.B, watches int) {
	p := newPhone(b, Options{})
	batch := p.log.lines(64, time.Now(), time.Second)
	all := make([]*LogWatch, watches)
	for i := range all {
		all[i] = p.WatchLog(LogWatchOptions{PID: -1, Info: true, Debug: true})
		defer all[i].Close()
	}
	buf := make([]*LogEntry, 256)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(batch) {
		p.log.mu.Lock()
		p.log.put(batch)
		p.log.mu.Unlock()
		for _, w := range all {
			if k, err := w.NextBatch(context.Background(), buf); err != nil || k != len(batch) {
				b.Fatal(k, err)
			}
		}
	}
	b.ReportMetric(float64(b.N*watches)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkWatch(b *testing.B)      { benchWatch(b, 1) }
func BenchmarkWatchEight(b *testing.B) { benchWatch(b, 8) }

// BenchmarkLines is the cost of one generated line.
func BenchmarkLines(b *testing.B) {
	p := newPhone(b, Options{})
	b.ReportAllocs()
	for n := 0; n < b.N; n += 10 {
		p.log.lines(10, time.Time{}, time.Second)
	}
}

func BenchmarkLog(b *testing.B) {
	p := newPhone(b, Options{})
	w := p.WatchLog(LogWatchOptions{PID: -1})
	defer w.Close()
	b.ReportAllocs()
	for b.Loop() {
		p.Log(LogEntry{PID: 1, Message: "m"})
	}
}

// BenchmarkFleet is a second of 64 phones that log 500 lines a second each
// to a watch each; the time beyond the second's own is nothing, ns-cpu/line
// is what counts.
func BenchmarkFleet(b *testing.B) {
	const phones, rate = 64, 500
	var lines uint64
	cpu := cpuTime(b)
	for b.Loop() {
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		all := make([]*Phone, phones)
		for i := range all {
			all[i] = newPhone(b, Options{Serial: i, LogRate: rate})
			w := all[i].WatchLog(LogWatchOptions{PID: -1, Info: true, Debug: true})
			wg.Go(func() {
				defer w.Close()
				for buf := make([]*LogEntry, 256); ; {
					if _, err := w.NextBatch(ctx, buf); err != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		cancel()
		for _, p := range all {
			lines += p.log.gen.count.Load() - backlog
		}
	}
	used := cpuTime(b) - cpu
	b.ReportMetric(used*1e9/float64(lines), "ns-cpu/line")
	b.ReportMetric(used*100/b.Elapsed().Seconds(), "%cpu")
	b.ReportMetric(float64(lines)/float64(b.N), "lines/s")
}

// cpuTime is the seconds that Go code has run so far.
func cpuTime(b *testing.B) float64 {
	b.Helper()
	runtime.GC() // the figures are brought up to date by the collector
	s := []metrics.Sample{{Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
}

// BenchmarkPhoneMemory is the heap of a phone that all services looked at.
func BenchmarkPhoneMemory(b *testing.B) {
	before := heap()
	all := make([]*Phone, 0, b.N)
	for i := range b.N {
		p := newPhone(b, Options{Serial: i, LogRate: 20})
		p.Domain("")
		p.Processes()
		p.LogHistory()
		for _, a := range p.Apps() {
			_, _ = a.DiskUsage()
		}
		p.Media().ContentSize()
		p.CrashReports().ContentSize()
		all = append(all, p)
	}
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/phone")
	runtime.KeepAlive(all)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
