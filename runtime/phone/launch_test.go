package phone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
)

// told takes what a watch has.
func told(t *testing.T, w *ProcessWatch) []string {
	t.Helper()
	var out []string
	for range w.q.n {
		e, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := e.Process.Name + " "
		switch e.Kind {
		case ProcessOutput:
			s += strings.TrimPrefix(e.Text, e.Process.Name+": ")
		case ProcessState:
			s += e.State.String()
		case ProcessEnded:
			s += fmt.Sprint("ended by ", e.Signal)
		case MemoryLevel:
			s = fmt.Sprint("memory ", e.Level)
		}
		out = append(out, s)
	}
	return out
}

func wantTold(t *testing.T, w *ProcessWatch, want ...string) {
	t.Helper()
	if got := told(t, w); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func launchPhone(t *testing.T) (*Phone, *ProcessWatch) {
	t.Helper()
	p, err := New(Options{LogRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	w := p.WatchProcesses()
	t.Cleanup(w.Close)
	return p, w
}

func TestLaunchApp(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	proc, err := p.LaunchApp(LaunchSpec{
		BundleID: "com.example.shop", Args: []string{"-x"},
		Env: map[string]string{"B": "2", "A": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantTold(t, w, "ShopDemo Foreground Running", "ShopDemo launched with 1 arguments\n",
		"ShopDemo argument 1: -x\n",
		"ShopDemo environment A=1\n", "ShopDemo environment B=2\n")
	if front, ok := p.FrontApp(); front != proc || !ok || p.AppState(proc.PID) != AppForeground {
		t.Errorf("in front: %+v, %v", front, ok)
	}
	logged := slices.ContainsFunc(p.LogHistory(), func(e *LogEntry) bool {
		return e.PID == proc.PID && e.Message == "ShopDemo: argument 1: -x"
	})
	if !logged {
		t.Error("the log says nothing of the app's output")
	}

	if again, err := p.Launch("com.example.shop"); again != proc || err != nil {
		t.Errorf("launched again: %+v, %v", again, err)
	}
	wantTold(t, w)
	notes, err := p.LaunchApp(LaunchSpec{BundleID: "com.example.reader", Background: true})
	if err != nil || p.AppState(notes.PID) != AppBackground {
		t.Errorf("in the background: %v, %v", p.AppState(notes.PID), err)
	}
	wantTold(t, w, "Reader Background Running", "Reader launched with 0 arguments\n")
	if _, err := p.Launch("com.example.reader"); err != nil {
		t.Fatal(err)
	}
	wantTold(t, w, "ShopDemo Background Running", "ShopDemo Background Task Suspended",
		"Reader Foreground Running")
	p.GoHome()
	wantTold(t, w, "Reader Background Running", "Reader Background Task Suspended")

	next, err := p.LaunchApp(LaunchSpec{BundleID: "com.example.shop", KillExisting: true})
	if err != nil || next.PID == proc.PID || p.AppState(proc.PID) != AppTerminated {
		t.Errorf("launched anew: %+v, %v", next, err)
	}
	wantTold(t, w, "ShopDemo Terminated", "ShopDemo ended by 9", "ShopDemo Foreground Running",
		"ShopDemo launched with 0 arguments\n")
	p.SetMemoryLevel(2)
	wantTold(t, w, "memory 2")
	p.Boot()
	if _, ok := p.FrontApp(); ok {
		t.Error("an app is in front after a boot")
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	proc, err := p.LaunchApp(LaunchSpec{BundleID: "com.example.shop", Suspended: true})
	if err != nil || p.AppState(proc.PID) != AppSuspended {
		t.Fatalf("%+v is %v, %v", proc, p.AppState(proc.PID), err)
	}
	wantTold(t, w, "ShopDemo Foreground Running")
	send := func(signal int) {
		t.Helper()
		if err := p.Signal(proc.PID, signal); err != nil {
			t.Errorf("signal %d: %v", signal, err)
		}
	}
	send(SIGCONT)
	wantTold(t, w, "ShopDemo launched with 0 arguments\n")
	send(0)
	send(20)
	send(SIGSTOP)
	if s := p.AppState(proc.PID); s != AppSuspended {
		t.Errorf("stopped, and %v", s)
	}
	send(SIGCONT)
	if s := p.AppState(proc.PID); s != AppForeground {
		t.Errorf("goes on, and is %v", s)
	}
	wantTold(t, w)
	if err := p.Print(proc.PID, "hello\n"); err != nil {
		t.Error(err)
	}
	if !p.DisableMemoryLimits(proc.PID) || !p.MemoryUnlimited(proc.PID) {
		t.Error("memory stays limited")
	}
	send(SIGTERM)
	wantTold(t, w, "ShopDemo hello\n", "ShopDemo Terminated", "ShopDemo ended by 15")
	if p.DisableMemoryLimits(proc.PID) || p.MemoryUnlimited(proc.PID) {
		t.Error("memory of a dead process is unlimited")
	}
	p.SetPasscode(true)
	p.Lock()
	for name, c := range map[string]struct{ got, want error }{
		"dead":     {p.Signal(proc.PID, SIGTERM), fs.ErrNotExist},
		"dead, 0":  {p.Signal(proc.PID, 0), fs.ErrNotExist},
		"launchd":  {p.Signal(1, SIGKILL), fs.ErrPermission},
		"signal":   {p.Signal(1, 32), ErrInvalid},
		"negative": {p.Signal(1, -1), ErrInvalid},
		"print":    {p.Print(proc.PID, "x"), fs.ErrNotExist},
		"locked":   {second(p.Launch("com.example.shop")), ErrPasswordProtected},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

func TestProcessWatchEnds(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	for range watchQueue + 3 {
		p.runs.mu.Lock()
		p.runs.emit(ProcessEvent{})
		p.runs.mu.Unlock()
	}
	if w.Dropped() != 3 {
		t.Errorf("%d dropped, want 3", w.Dropped())
	}
	w.Close()
	w.Close()
	if _, err := w.Next(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
	if len(p.runs.watches) != 0 {
		t.Error("a closed watch is kept")
	}
}
