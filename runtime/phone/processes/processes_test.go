package processes_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

func TestProcesses(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		all := p.Processes.List()
		if len(all) < 60 || all[0].Name != "kernel" || all[0].PID != 0 ||
			all[1].Name != "launchd" || all[1].PID != 1 {
			t.Fatalf("%d processes, first %+v", len(all), all[:2])
		}
		names := map[string]bool{}
		for i, proc := range all {
			if i > 0 && proc.PID <= all[i-1].PID || names[proc.Name] {
				t.Errorf("odd process %+v", proc)
			}
			names[proc.Name] = true
			if got, ok := p.Processes.Find(proc.PID); !ok || got != proc {
				t.Errorf("Process(%d) = %+v, %v", proc.PID, got, ok)
			}
			if proc.PID > 1 && proc.ParentPID != 1 || proc.Started.IsZero() ||
				proc.Started.After(p.Clock.Now()) || proc.UUID == [16]byte{} || proc.User == "" {
				t.Errorf("incomplete process %+v", proc)
			}
		}
	})
}

func TestLaunchAndKill(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	proc, err := p.Processes.Launch("com.example.shop")
	if err != nil || proc.BundleID != "com.example.shop" ||
		!strings.HasSuffix(proc.Path, "/ShopDemo.app/ShopDemo") {
		t.Fatalf("Launch = %+v, %v", proc, err)
	}
	if again, err := p.Processes.Launch("com.example.shop"); err != nil || again != proc {
		t.Errorf("second Launch = %+v, %v", again, err)
	}
	if err := p.Processes.Kill(proc.PID); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Processes.OfApp("com.example.shop"); ok {
		t.Error("runs after Kill")
	}
	if err := p.Processes.Kill(proc.PID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Kill = %v", err)
	}
	if next, err := p.Processes.Launch("com.example.shop"); err != nil || next.PID == proc.PID {
		t.Errorf("third Launch = %+v, %v", next, err)
	}
	for _, pid := range []int{0, 1} {
		if err := p.Processes.Kill(pid); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Kill(%d) = %v", pid, err)
		}
	}
	daemon, _ := p.Processes.Named("locationd")
	if err := p.Processes.Kill(daemon.PID); err != nil {
		t.Fatal(err)
	}
	if after, ok := p.Processes.Named("locationd"); !ok || after.PID == daemon.PID {
		t.Errorf("locationd after Kill: %+v, %v", after, ok)
	}
}

// TestPIDsWrap: identifiers never leave the range that hosts accept, and one
// that is taken is not given out again.
func TestPIDsWrap(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	n := len(p.Processes.List())
	p.Processes.SetLastPID(processes.MaxPID - 5)
	seen := map[int]bool{}
	for range 200 {
		proc, err := p.Processes.Launch("com.example.shop")
		if err != nil || proc.PID > processes.MaxPID || proc.PID < processes.FirstPID ||
			seen[proc.PID] {
			t.Fatalf("Launch = %+v, %v", proc, err)
		}
		seen[proc.PID] = true
		if got := len(p.Processes.List()); got != n+1 {
			t.Fatalf("%d processes, want %d: PID %d was taken", got, n+1, proc.PID)
		}
		if err := p.Processes.Kill(proc.PID); err != nil {
			t.Fatal(err)
		}
	}
	if !seen[processes.MaxPID-1] && !seen[processes.MaxPID-2] && !seen[processes.MaxPID-3] &&
		!seen[processes.MaxPID-4] ||
		len(seen) != 200 {
		t.Errorf("%d identifiers, none at the end of the range", len(seen))
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	for _, user := range processes.DaemonUsers() {
		if id := processes.UserID(user); id == -2 {
			t.Errorf("user %s has no identifier", user)
		} else if name, ok := processes.UserName(id); name != user || !ok {
			t.Errorf("user %d is %s", id, name)
		}
	}
	name, ok := processes.GroupName(501)
	if name != "mobile" || !ok || processes.UserID("who") != -2 {
		t.Errorf("group 501 is %s", name)
	}
}
