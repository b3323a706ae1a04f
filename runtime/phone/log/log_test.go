package log_test

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
	if err != nil || e.ProcessPath != board.Path || e.ProcessUUID != board.UUID ||
		e.ImagePath != board.Path || e.ImageUUID != board.UUID ||
		e.Time.IsZero() || e.MachTime == 0 || e.ThreadID == 0 {
		t.Errorf("Next = %+v, %v", e, err)
	}
	e, err = w.Next(t.Context())
	if err != nil || e.ProcessPath != "<pid 77777>" {
		t.Errorf("Next = %+v, %v", e, err)
	}
	if e, err = w.Next(t.Context()); err != nil || e.ProcessPath != "/kernel" ||
		e.ImagePath != "/lib/x" || e.ThreadID != 5 {
		t.Errorf("Next = %+v, %v", e, err)
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

// TestWatchDropsOldest: the writer never waits for a reader.
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
	if n, err := w.NextBatch(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("NextBatch into nothing = %d, %v", n, err)
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

// TestGeneratorRate: the phone talks at the rate asked for, and only while
// somebody listens.
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
			if made+want/100+1 < want || made > want+want/100+1 {
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

// TestGeneratorStops: synctest fails the test if a goroutine is left.
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

// TestGeneratedLines holds their form, and that a phone says the same again.
func TestGeneratedLines(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{LogRate: 20})
	q := phonetest.New(t, phone.Options{LogRate: 20})
	at := time.Now()
	a, b := log.Lines(p.Log, 3000, at, time.Second), log.Lines(q.Log, 3000, at, time.Second)
	levels, processes, images := map[log.Level]int{}, map[string]int{}, map[string]int{}
	for i, e := range a {
		if e.Message != b[i].Message || e.PID != b[i].PID {
			t.Fatalf("line %d is %q and %q", i, e.Message, b[i].Message)
		}
		levels[e.Level]++
		processes[e.ProcessPath]++
		images[e.ImagePath]++
		if proc, ok := p.Processes.Find(e.PID); !ok || proc.Path != e.ProcessPath ||
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
	if len(h) != log.Backlog+1 || h[log.Backlog].Message != "first of all" {
		t.Fatalf("%d entries, last %+v", len(h), h[len(h)-1])
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
	if len(h) != log.HistorySize || h[0].Message != "10" ||
		h[log.HistorySize-1].Message != fmt.Sprint(log.HistorySize+9) {
		t.Errorf("%d entries, from %s to %s", len(h), h[0].Message, h[len(h)-1].Message)
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
			if k, err := w.NextBatch(context.Background(), buf); err != nil || k != len(batch) {
				b.Fatal(k, err)
			}
		}
	}
	b.ReportMetric(float64(b.N*watches)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkWatch(b *testing.B) { benchWatch(b, 1) }

func BenchmarkWatchEight(b *testing.B) { benchWatch(b, 8) }

// BenchmarkLines is the cost of one generated line.
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

// cpuTime is the seconds that Go code has run so far.
func cpuTime(b *testing.B) float64 {
	b.Helper()
	runtime.GC() // the figures are brought up to date by the collector
	s := []metrics.Sample{{Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
}

// TestDaemonsRun checks that the processes that generated lines are from exist.
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
