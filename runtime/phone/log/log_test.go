package log_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestLogFillsIn(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	board, _ := p.Processes.Named("SpringBoard")
	w := p.Log.Watch(log.WatchOptions{PID: -1})
	defer w.Close()
	p.Log.Write(log.Entry{PID: board.PID, Message: "hello"})
	p.Log.Write(log.Entry{PID: 77_777, Message: "from nobody"})
	p.Log.Write(log.Entry{
		PID: 0, ImagePath: "/lib/x", Message: "kernel", Level: log.LevelFault, ThreadID: 5,
	})
	e, err := w.Next(t.Context())
	if err != nil {
		t.Fatalf("first entry: %v", err)
	}
	if e.ProcessPath != board.Path {
		t.Errorf("first entry: ProcessPath = %v, want %v", e.ProcessPath, board.Path)
	}
	if e.ProcessUUID != board.UUID {
		t.Errorf("first entry: ProcessUUID = %v, want %v", e.ProcessUUID, board.UUID)
	}
	if e.ImagePath != board.Path {
		t.Errorf("first entry: ImagePath = %v, want %v", e.ImagePath, board.Path)
	}
	if e.ImageUUID != board.UUID {
		t.Errorf("first entry: ImageUUID = %v, want %v", e.ImageUUID, board.UUID)
	}
	if e.Time.IsZero() {
		t.Error("the first entry has no time")
	}
	if e.MachTime == 0 {
		t.Error("the first entry has no MachTime")
	}
	if e.ThreadID == 0 {
		t.Error("the first entry has no ThreadID")
	}
	e, err = w.Next(t.Context())
	if err != nil {
		t.Errorf("second entry: %v", err)
	} else if e.ProcessPath != "<pid 77777>" {
		t.Errorf("second entry: ProcessPath = %q, want %q", e.ProcessPath, "<pid 77777>")
	}
	e, err = w.Next(t.Context())
	if err != nil {
		t.Errorf("third entry: %v", err)
	} else if e.ProcessPath != "/kernel" {
		t.Errorf("third entry: ProcessPath = %q, want %q", e.ProcessPath, "/kernel")
	} else if e.ImagePath != "/lib/x" {
		t.Errorf("third entry: ImagePath = %q, want %q", e.ImagePath, "/lib/x")
	} else if e.ThreadID != 5 {
		t.Errorf("third entry: ThreadID = %v, want 5", e.ThreadID)
	}
}

func TestWatchFilters(t *testing.T) {
	t.Parallel()
	levels := []log.Level{
		log.LevelDefault, log.LevelInfo, log.LevelDebug, log.LevelError, log.LevelFault,
	}
	for _, c := range []struct {
		opts log.WatchOptions
		want string
	}{
		{log.WatchOptions{PID: -1}, "0 Notice,0 Error,0 Fault,1 Notice,1 Error,1 Fault"},
		{log.WatchOptions{PID: 0}, "0 Notice,0 Error,0 Fault"},
		{log.WatchOptions{PID: 1, Info: true}, "1 Notice,1 Info,1 Error,1 Fault"},
		{log.WatchOptions{PID: 1, Debug: true}, "1 Notice,1 Debug,1 Error,1 Fault"},
		{
			log.WatchOptions{PID: 0, Info: true, Debug: true},
			"0 Notice,0 Info,0 Debug,0 Error,0 Fault",
		},
		{log.WatchOptions{PID: 500_000, Info: true, Debug: true}, ""},
	} {
		p := phonetest.New(t, phone.Options{})
		w := p.Log.Watch(c.opts)
		for pid := range 2 {
			for _, l := range levels {
				p.Log.Write(log.Entry{PID: pid, Level: l, Message: "m"})
			}
		}
		var got []string
		phonetest.Drain(w.Next, func(e *log.Entry) {
			got = append(got, fmt.Sprintf("%d %s", e.PID, e.Level))
		})
		if s := strings.Join(got, ","); s != c.want {
			t.Errorf("%+v: %s, want %s", c.opts, s, c.want)
		}
		w.Close()
	}
	if s := log.Level(3).String(); s != "Level(3)" {
		t.Errorf("String = %s", s)
	}
}

// TestWatchDropsOldest checks that the writer never waits for a reader.
func TestWatchDropsOldest(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	w := p.Log.Watch(log.WatchOptions{PID: -1, Queue: 10})
	defer w.Close()
	for i := range 25 {
		p.Log.Write(log.Entry{Message: fmt.Sprint(i)})
	}
	if w.Dropped() != 15 {
		t.Errorf("Dropped = %d, want 15", w.Dropped())
	}
	buf := make([]*log.Entry, 4)
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
	if n, err := w.NextBatch(t.Context(), nil); err != nil {
		t.Errorf("NextBatch into nothing: %v", err)
	} else if n != 0 {
		t.Errorf("NextBatch into nothing = %v, want 0", n)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		w := p.Log.Watch(log.WatchOptions{PID: -1})
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
		p.Log.Write(log.Entry{Message: "unheard"})
		if _, err := w.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next after Close = %v", err)
		}
	})
}

// TestGeneratorRate checks that the phone generates lines at the given rate, and only
// while a watch is open.
func TestGeneratorRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 0.5, 3, 500, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			p := phonetest.New(t, phone.Options{})
			p.Log.SetRate(rate)
			want := uint64(log.NormalRate(rate) * 10)
			w := p.Log.Watch(log.WatchOptions{PID: -1, Queue: 1})
			past := p.Log.Made()
			time.Sleep(10*time.Second + time.Millisecond)
			synctest.Wait()
			made := p.Log.Made() - past
			late := uint64(log.LargestBurst(log.NormalRate(rate)))
			if made+want/100+late < want || made > want+want/100+1 {
				t.Errorf("rate %v: %d lines in 10 s, want about %d", rate, made, want)
			}
			w.Close()
			past = p.Log.Made()
			time.Sleep(10 * time.Second)
			if more := p.Log.Made() - past; more != 0 {
				t.Errorf("rate %v: %d lines with nobody listening", rate, more)
			}
		})
	}
}

// TestGeneratorBursts checks that lines come in bursts of several sizes, with pauses between
// them, and that no burst is larger than the queue of a watch.
func TestGeneratorBursts(t *testing.T) {
	t.Parallel()
	for rate, steps := range map[float64]int{20: 300, 500: 300, 50_000: 40} {
		synctest.Test(t, func(t *testing.T) {
			p := phonetest.New(t, phone.Options{LogRate: rate})
			w := p.Log.Watch(log.WatchOptions{PID: -1, Info: true, Debug: true})
			defer w.Close()
			var times []time.Time
			sizes, pauses := map[int]bool{}, 0
			for range steps {
				time.Sleep(log.Tick)
				synctest.Wait()
				n := 0
				phonetest.Drain(w.Next, func(e *log.Entry) {
					times = append(times, e.Time)
					n++
				})
				sizes[n] = true
				if n == 0 {
					pauses++
				}
			}
			if len(sizes) < 4 {
				t.Errorf("rate %v: steps with %v lines, want at least 4 numbers", rate, sizes)
			}
			if rate <= 500 && pauses < steps/3 {
				t.Errorf("rate %v: %d of %d steps without lines, want a third", rate, pauses, steps)
			}
			if !slices.IsSortedFunc(times, time.Time.Compare) {
				t.Errorf("rate %v: the times of the lines are not in order", rate)
			}
			if n := w.Dropped(); n > 0 {
				t.Errorf("rate %v: %d lines are lost", rate, n)
			}
		})
	}
}

// TestGeneratorStops checks that the generator stops. Package synctest fails the test
// if a goroutine is left.
func TestGeneratorStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{LogRate: 100})
		a, b := p.Log.Watch(log.WatchOptions{PID: -1}), p.Log.Watch(log.WatchOptions{PID: -1})
		time.Sleep(time.Second)
		a.Close()
		if _, err := b.Next(t.Context()); err != nil {
			t.Errorf("closing one watch ended the other: %v", err)
		}
		p.Log.SetRate(-1)
		past := p.Log.Made()
		time.Sleep(time.Second)
		if p.Log.Made() != past {
			t.Error("a silenced phone talks")
		}
		p.Log.SetRate(50)
		time.Sleep(time.Second)
		if p.Log.Made() == past {
			t.Error("a phone that may talk again is silent")
		}
		b.Close()
	})
}

// TestGeneratedLines checks the form of the lines, and that two phones with the same
// options generate the same lines.
func TestGeneratedLines(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{LogRate: 20})
	q := phonetest.New(t, phone.Options{LogRate: 20})
	at := time.Now()
	a, b := log.Lines(p.Log, 3000, at, time.Second), log.Lines(q.Log, 3000, at, time.Second)
	levels, processes, images := map[log.Level]int{}, map[string]int{}, map[string]int{}
	for i, e := range a {
		if e.Message != b[i].Message {
			t.Fatalf("line %d: Message = %v, want %v", i, e.Message, b[i].Message)
		}
		if e.PID != b[i].PID {
			t.Fatalf("line %d: PID = %v, want %v", i, e.PID, b[i].PID)
		}
		levels[e.Level]++
		processes[e.ProcessPath]++
		images[e.ImagePath]++
		if proc, ok := p.Processes.Find(e.PID); !ok {
			t.Fatalf("%+v is of no process", e)
		} else if proc.Path != e.ProcessPath {
			t.Fatalf("entry of process %d: ProcessPath = %s, want %s", e.PID, e.ProcessPath,
				proc.Path)
		} else if proc.UUID != e.ProcessUUID {
			t.Fatalf("entry of process %d: ProcessUUID = %v, want %v", e.PID, e.ProcessUUID,
				proc.UUID)
		}
		if e.Message == "" {
			t.Fatalf("entry %+v has no message", e)
		}
		if strings.ContainsAny(e.Message, "\n\x00") {
			t.Fatalf("entry %+v has a line break or a NUL", e)
		}
		if (e.Subsystem == "") != (e.Category == "") {
			t.Fatalf("entry %+v has only one of subsystem and category", e)
		}
		if e.ImageUUID == [16]byte{} {
			t.Fatalf("entry %+v has no ImageUUID", e)
		}
		if e.MachTime == 0 {
			t.Fatalf("entry %+v has no MachTime", e)
		}
		if e.Time.Before(at) {
			t.Fatalf("entry %+v is older than %v", e, at)
		}
		if e.Time.After(at.Add(time.Second)) {
			t.Fatalf("entry %+v is newer than %v", e, at.Add(time.Second))
		}
		for _, left := range []string{"{n}", "{p}", "{x}", "{X}", "{u}", "{app}"} {
			if strings.Contains(e.Message, left) {
				t.Fatalf("%s is left in %q", left, e.Message)
			}
		}
		if i == 0 {
			continue
		}
		if e.Time.Before(a[i-1].Time) {
			t.Fatalf("line %d has the time %v, after %v", i, e.Time, a[i-1].Time)
		}
		if e.MachTime < a[i-1].MachTime {
			t.Fatalf("line %d has the MachTime %d, after %d", i, e.MachTime, a[i-1].MachTime)
		}
	}
	if len(levels) != 5 {
		t.Errorf("levels %v, want 5", levels)
	}
	if len(processes) < 20 {
		t.Errorf("%d processes, want at least 20", len(processes))
	}
	if len(images) < 20 {
		t.Errorf("%d images, want at least 20", len(images))
	}
	other := phonetest.New(t, phone.Options{Serial: 1}).Log
	first, second := log.Lines(other, 1, at, 0)[0].Message, log.Lines(other, 1, at, 0)[0].Message
	if first == a[0].Message && second == a[1].Message {
		t.Error("two phones say the same")
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{LogRate: 20})
	p.Log.Write(log.Entry{Message: "first of all"})
	h := p.Log.History()
	if len(h) != log.Backlog+1 {
		t.Fatalf("%d entries, want %d", len(h), log.Backlog+1)
	}
	if h[log.Backlog].Message != "first of all" {
		t.Fatalf("last entry %+v, want first of all", h[log.Backlog])
	}
	for i, e := range h[1:] {
		if e.Time.Before(h[i].Time) {
			t.Errorf("entry %d is older than the one before", i+1)
		}
	}
	for i := range log.HistorySize + 10 {
		p.Log.Write(log.Entry{Message: fmt.Sprint(i)})
	}
	h = p.Log.History()
	if len(h) != log.HistorySize {
		t.Errorf("%d entries, want %d", len(h), log.HistorySize)
	} else if h[0].Message != "10" {
		t.Errorf("first entry %q, want 10", h[0].Message)
	} else if h[log.HistorySize-1].Message != fmt.Sprint(log.HistorySize+9) {
		t.Errorf("last entry %q, want %d", h[log.HistorySize-1].Message, log.HistorySize+9)
	}
	if h := phonetest.New(t, phone.Options{}).Log.History(); len(h) != 0 {
		t.Errorf("a silent phone has a past of %d entries", len(h))
	}
}

func benchWatch(b *testing.B, watches int) {
	p := phonetest.New(b, phone.Options{})
	batch := log.Lines(p.Log, 64, time.Now(), time.Second)
	all := make([]*log.Watch, watches)
	for i := range all {
		all[i] = p.Log.Watch(log.WatchOptions{PID: -1, Info: true, Debug: true})
		defer all[i].Close()
	}
	buf := make([]*log.Entry, 256)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(batch) {
		p.Log.WriteAll(batch)
		for _, w := range all {
			if k, err := w.NextBatch(context.Background(), buf); err != nil {
				b.Fatalf("NextBatch: %v", err)
			} else if k != len(batch) {
				b.Fatalf("%d entries, want %d", k, len(batch))
			}
		}
	}
	b.ReportMetric(float64(b.N*watches)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkWatch(b *testing.B) { benchWatch(b, 1) }

func BenchmarkWatchEight(b *testing.B) { benchWatch(b, 8) }

// BenchmarkLines measures the cost of one generated line.
func BenchmarkLines(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	b.ReportAllocs()
	for n := 0; n < b.N; n += 10 {
		log.Lines(p.Log, 10, time.Time{}, time.Second)
	}
}

func BenchmarkLog(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	w := p.Log.Watch(log.WatchOptions{PID: -1})
	defer w.Close()
	b.ReportAllocs()
	for b.Loop() {
		p.Log.Write(log.Entry{PID: 1, Message: "m"})
	}
}

// BenchmarkFleet runs 64 phones for a second. Each logs 500 lines a second to one watch.
// The elapsed time is always a second, so compare ns-cpu/line.
func BenchmarkFleet(b *testing.B) {
	const phones, rate = 64, 500
	var lines uint64
	cpu := cpuTime(b)
	for b.Loop() {
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		all := make([]*phone.Phone, phones)
		for i := range all {
			all[i] = phonetest.New(b, phone.Options{Serial: i, LogRate: rate})
			w := all[i].Log.Watch(log.WatchOptions{PID: -1, Info: true, Debug: true})
			wg.Go(func() {
				defer w.Close()
				for buf := make([]*log.Entry, 256); ; {
					if _, err := w.NextBatch(ctx, buf); err != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		cancel()
		for _, p := range all {
			lines += p.Log.Made() - log.Backlog
		}
	}
	used := cpuTime(b) - cpu
	b.ReportMetric(used*1e9/float64(lines), "ns-cpu/line")
	b.ReportMetric(used*100/b.Elapsed().Seconds(), "%cpu")
	b.ReportMetric(float64(lines)/float64(b.N), "lines/s")
}

// cpuTime returns the seconds that Go code has run so far.
func cpuTime(b *testing.B) float64 {
	b.Helper()
	runtime.GC() // the garbage collector updates the figures
	s := []metrics.Sample{{Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
}

// TestDaemonsRun checks that the processes named in generated lines exist.
func TestDaemonsRun(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, name := range log.Daemons() {
			if _, ok := p.Processes.Named(name); !ok {
				t.Errorf("%s logs but does not run", name)
			}
		}
	})
}
