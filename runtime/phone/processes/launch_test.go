package processes_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/phone/screen"
)

// told returns the events that a watch has received.
func told(t *testing.T, w *processes.Watch) []string {
	t.Helper()
	var out []string
	phonetest.Drain(w.Next, func(e processes.Event) {
		s := e.Process.Name + " "
		switch e.Kind {
		case processes.Output:
			s += strings.TrimPrefix(e.Text, e.Process.Name+": ")
		case processes.StateChanged:
			s += e.State.String()
		case processes.Ended:
			s += fmt.Sprint("ended by ", e.Signal)
		case processes.MemoryLevel:
			s = fmt.Sprint("memory ", e.Level)
		}
		out = append(out, s)
	})
	return out
}

func wantTold(t *testing.T, w *processes.Watch, want ...string) {
	t.Helper()
	if got := told(t, w); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func launchPhone(t *testing.T) (*phone.Phone, *processes.Watch) {
	t.Helper()
	p := phonetest.New(t, phone.Options{})
	w := p.Processes.Watch()
	t.Cleanup(w.Close)
	return p, w
}

func TestLaunchApp(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	proc, err := p.Processes.LaunchApp(processes.LaunchSpec{
		BundleID: "com.example.shop", Args: []string{"-x"},
		Env: map[string]string{"B": "2", "A": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantTold(t, w, "ShopDemo Foreground Running", "ShopDemo launched with 1 arguments\n",
		"ShopDemo argument 1: -x\n",
		"ShopDemo environment A=1\n", "ShopDemo environment B=2\n")
	if front, ok := p.Processes.Front(); front != proc {
		t.Errorf("in front: %+v, want %+v", front, proc)
	} else if !ok {
		t.Error("no process is in front")
	} else if p.Processes.State(proc.PID) != processes.Foreground {
		t.Errorf("state %v, want %v", p.Processes.State(proc.PID), processes.Foreground)
	}
	logged := slices.ContainsFunc(p.Log.History(), func(e *log.Entry) bool {
		return e.PID == proc.PID && e.Message == "ShopDemo: argument 1: -x"
	})
	if !logged {
		t.Error("the log says nothing of the app's output")
	}

	if again, err := p.Processes.Launch("com.example.shop"); err != nil {
		t.Errorf("Launch of a running app: %v", err)
	} else if again != proc {
		t.Errorf("Launch of a running app = %v, want %v", again, proc)
	}
	wantTold(t, w)
	notes, err := p.Processes.LaunchApp(
		processes.LaunchSpec{BundleID: "com.example.reader", Background: true},
	)
	if err != nil {
		t.Errorf("Launch in the background: %v", err)
	} else if p.Processes.State(notes.PID) != processes.Background {
		t.Errorf("state %v, want %v", p.Processes.State(notes.PID), processes.Background)
	}
	wantTold(t, w, "Reader Background Running", "Reader launched with 0 arguments\n")
	if _, err := p.Processes.Launch("com.example.reader"); err != nil {
		t.Fatal(err)
	}
	wantTold(t, w, "ShopDemo Background Running", "ShopDemo Background Task Suspended",
		"Reader Foreground Running")
	p.Processes.GoHome()
	wantTold(t, w, "Reader Background Running", "Reader Background Task Suspended")

	next, err := p.Processes.LaunchApp(
		processes.LaunchSpec{BundleID: "com.example.shop", KillExisting: true},
	)
	if err != nil {
		t.Errorf("second Launch: %v", err)
	} else if next.PID == proc.PID {
		t.Errorf("the new process has the PID %d of the old one", next.PID)
	} else if p.Processes.State(proc.PID) != processes.Terminated {
		t.Errorf("state of the old process %v, want %v", p.Processes.State(proc.PID),
			processes.Terminated)
	}
	wantTold(t, w, "ShopDemo Terminated", "ShopDemo ended by 9", "ShopDemo Foreground Running",
		"ShopDemo launched with 0 arguments\n")
	p.Processes.SetMemoryLevel(2)
	wantTold(t, w, "memory 2")
	p.Boot()
	if _, ok := p.Processes.Front(); ok {
		t.Error("an app is in front after a boot")
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	proc, err := p.Processes.LaunchApp(
		processes.LaunchSpec{BundleID: "com.example.shop", Suspended: true},
	)
	if err != nil {
		t.Fatalf("Launch: %v", err)
	}
	if p.Processes.State(proc.PID) != processes.Suspended {
		t.Fatalf("state of %+v is %v, want %v", proc, p.Processes.State(proc.PID),
			processes.Suspended)
	}
	wantTold(t, w, "ShopDemo Foreground Running")
	send := func(signal int) {
		t.Helper()
		if err := p.Processes.Signal(proc.PID, signal); err != nil {
			t.Errorf("signal %d: %v", signal, err)
		}
	}
	send(processes.SIGCONT)
	wantTold(t, w, "ShopDemo launched with 0 arguments\n")
	send(0)
	send(20)
	send(processes.SIGSTOP)
	if s := p.Processes.State(proc.PID); s != processes.Suspended {
		t.Errorf("stopped, and %v", s)
	}
	send(processes.SIGCONT)
	if s := p.Processes.State(proc.PID); s != processes.Foreground {
		t.Errorf("goes on, and is %v", s)
	}
	wantTold(t, w)
	if err := p.Processes.Print(proc.PID, "hello\n"); err != nil {
		t.Error(err)
	}
	if !p.Processes.DisableMemoryLimits(proc.PID) {
		t.Error("DisableMemoryLimits = false")
	}
	if !p.Processes.MemoryUnlimited(proc.PID) {
		t.Error("MemoryUnlimited = false")
	}
	send(processes.SIGTERM)
	wantTold(t, w, "ShopDemo hello\n", "ShopDemo Terminated", "ShopDemo ended by 15")
	if p.Processes.DisableMemoryLimits(proc.PID) {
		t.Error("DisableMemoryLimits of a dead process = true")
	}
	if p.Processes.MemoryUnlimited(proc.PID) {
		t.Error("MemoryUnlimited of a dead process = true")
	}
	p.Screen.SetPasscode(true)
	p.Screen.Lock()
	for name, c := range map[string]struct{ got, want error }{
		"dead":     {p.Processes.Signal(proc.PID, processes.SIGTERM), fs.ErrNotExist},
		"dead, 0":  {p.Processes.Signal(proc.PID, 0), fs.ErrNotExist},
		"launchd":  {p.Processes.Signal(1, processes.SIGKILL), fs.ErrPermission},
		"signal":   {p.Processes.Signal(1, 32), files.ErrInvalid},
		"negative": {p.Processes.Signal(1, -1), files.ErrInvalid},
		"print":    {p.Processes.Print(proc.PID, "x"), fs.ErrNotExist},
		"locked": {
			phonetest.Err(p.Processes.Launch("com.example.shop")), screen.ErrPasswordProtected,
		},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

func TestProcessWatchEnds(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	for range processes.WatchQueue + 3 {
		p.Processes.Emit(processes.Event{})
	}
	if w.Dropped() != 3 {
		t.Errorf("%d dropped, want 3", w.Dropped())
	}
	w.Close()
	w.Close()
	if _, err := w.Next(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
	if p.Processes.Watches() != 0 {
		t.Error("a closed watch is kept")
	}
}
