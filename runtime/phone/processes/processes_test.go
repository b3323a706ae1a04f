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
		if len(all) < 60 {
			t.Fatalf("%d processes, want at least 60", len(all))
		}
		if all[0].Name != "kernel" {
			t.Fatalf("all[0].Name = %q, want %q", all[0].Name, "kernel")
		}
		if all[0].PID != 0 {
			t.Fatalf("all[0].PID = %v, want 0", all[0].PID)
		}
		if all[1].Name != "launchd" {
			t.Fatalf("all[1].Name = %q, want %q", all[1].Name, "launchd")
		}
		if all[1].PID != 1 {
			t.Fatalf("all[1].PID = %v, want 1", all[1].PID)
		}
		names := map[string]bool{}
		for i, proc := range all {
			if i > 0 && proc.PID <= all[i-1].PID {
				t.Errorf("%s: PID %d is not above %d", proc.Name, proc.PID, all[i-1].PID)
			}
			if names[proc.Name] {
				t.Errorf("there are two processes %s", proc.Name)
			}
			names[proc.Name] = true
			if got, ok := p.Processes.Find(proc.PID); !ok || got != proc {
				t.Errorf("Process(%d) = %+v, %v", proc.PID, got, ok)
			}
			if proc.PID > 1 && proc.ParentPID != 1 {
				t.Errorf("%s: ParentPID = %d, want 1", proc.Name, proc.ParentPID)
			}
			if proc.Started.IsZero() {
				t.Errorf("%s has no start time", proc.Name)
			}
			if proc.Started.After(p.Clock.Now()) {
				t.Errorf("%s: the start time %v is in the future", proc.Name, proc.Started)
			}
			if proc.UUID == [16]byte{} {
				t.Errorf("%s has no UUID", proc.Name)
			}
			if proc.User == "" {
				t.Errorf("%s has no user", proc.Name)
			}
		}
	})
}

func TestLaunchAndKill(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	proc, err := p.Processes.Launch("com.example.shop")
	if err != nil {
		t.Fatalf("Launch: %v", err)
	}
	if proc.BundleID != "com.example.shop" {
		t.Fatalf("Launch: BundleID = %q, want %q", proc.BundleID, "com.example.shop")
	}
	if !strings.HasSuffix(proc.Path, "/ShopDemo.app/ShopDemo") {
		t.Fatalf("Launch: Path = %q, want the suffix /ShopDemo.app/ShopDemo", proc.Path)
	}
	if again, err := p.Processes.Launch("com.example.shop"); err != nil {
		t.Errorf("second Launch: %v", err)
	} else if again != proc {
		t.Errorf("second Launch = %v, want %v", again, proc)
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
	if next, err := p.Processes.Launch("com.example.shop"); err != nil {
		t.Errorf("third Launch: %v", err)
	} else if next.PID == proc.PID {
		t.Errorf("third Launch has the PID %d of the first", next.PID)
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
	if after, ok := p.Processes.Named("locationd"); !ok {
		t.Error("locationd does not run after Kill")
	} else if after.PID == daemon.PID {
		t.Errorf("locationd has the same PID %d after Kill", after.PID)
	}
}

// TestAppPIDs checks that apps have larger PIDs than the daemons of a phone that has booted, also
// after the PIDs have begun again with small ones.
func TestAppPIDs(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		for _, last := range []int{0, processes.MaxPID - 1} {
			if last > 0 {
				p.Processes.SetLastPID(last)
			}
			if _, err := p.Processes.Launch("com.example.shop"); err != nil {
				t.Fatal(err)
			}
			for _, proc := range p.Processes.List() {
				if proc.IsApp() && proc.PID <= 300 {
					t.Errorf("%s has the PID %d, want one above 300", proc.Name, proc.PID)
				}
			}
			p.Processes.EndApp("com.example.shop")
		}
	})
}

// TestStopDaemon stops a daemon, which does not come back by itself.
func TestStopDaemon(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	before, _ := p.Processes.Named("SpringBoard")
	p.Processes.StopDaemon("SpringBoard")
	p.Processes.StopDaemon("SpringBoard")
	if _, ok := p.Processes.Named("SpringBoard"); ok {
		t.Error("SpringBoard runs after StopDaemon")
	}
	if _, ok := p.Processes.Find(before.PID); ok {
		t.Errorf("process %d runs after StopDaemon", before.PID)
	}
	p.Processes.StartDaemon("SpringBoard")
	after, ok := p.Processes.Named("SpringBoard")
	if !ok {
		t.Fatal("SpringBoard does not run after StartDaemon")
	}
	if after.PID == before.PID {
		t.Errorf("SpringBoard has the PID %d as before", after.PID)
	}
	if after.BundleID != before.BundleID {
		t.Errorf("SpringBoard has the bundle identifier %q, want %q", after.BundleID,
			before.BundleID)
	}
	p.Processes.StartDaemon("SpringBoard")
	if again, _ := p.Processes.Named("SpringBoard"); again != after {
		t.Errorf("StartDaemon of a daemon that runs made %+v of %+v", again, after)
	}
	n := len(p.Processes.List())
	p.Processes.StartDaemon("nobody")
	if got := len(p.Processes.List()); got != n {
		t.Errorf("StartDaemon of an unknown daemon: %d processes, want %d", got, n)
	}
}

// TestPIDsWrap checks that PIDs stay in the range that clients accept, and that the PID
// of a running process is not assigned again.
func TestPIDsWrap(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	n := len(p.Processes.List())
	p.Processes.SetLastPID(processes.MaxPID - 5)
	seen := map[int]bool{}
	for range 200 {
		proc, err := p.Processes.Launch("com.example.shop")
		if err != nil {
			t.Fatalf("Launch: %v", err)
		}
		if proc.PID > processes.MaxPID {
			t.Fatalf("PID %d is above %d", proc.PID, processes.MaxPID)
		}
		if proc.PID < processes.FirstPID {
			t.Fatalf("PID %d is below %d", proc.PID, processes.FirstPID)
		}
		if seen[proc.PID] {
			t.Fatalf("PID %d is used a second time", proc.PID)
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
		!seen[processes.MaxPID-4] {
		t.Error("no PID is at the end of the range")
	}
	if len(seen) != 200 {
		t.Errorf("%d PIDs, want 200", len(seen))
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	for _, user := range processes.DaemonUsers() {
		if id := processes.UserID(user); id == -2 {
			t.Errorf("user %s has no identifier", user)
		} else if name, ok := processes.UserName(id); name != user {
			t.Errorf("user %d is %q, want %q", id, name, user)
		} else if !ok {
			t.Errorf("user %d has no name", id)
		}
	}
	name, ok := processes.GroupName(501)
	if name != "mobile" {
		t.Errorf("group 501 is %q, want mobile", name)
	}
	if !ok {
		t.Error("group 501 has no name")
	}
	if processes.UserID("who") != -2 {
		t.Errorf("UserID of an unknown user = %d, want -2", processes.UserID("who"))
	}
}
