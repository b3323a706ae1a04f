package processes_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

func TestSpawn(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	daemon, _ := p.Processes.Named("timed")
	proc, err := p.Processes.Spawn(
		processes.SpawnSpec{Path: "/usr/libexec/timed", Args: []string{"-v"}, Suspended: true},
	)
	if err != nil {
		t.Fatalf("Spawn: %v", err)
	}
	if proc.PID == daemon.PID {
		t.Fatalf("the process has the PID %d of the daemon", proc.PID)
	}
	if proc.User != "mobile" {
		t.Fatalf("Spawn: User = %q, want %q", proc.User, "mobile")
	}
	if proc.ParentPID != 1 {
		t.Fatalf("Spawn: ParentPID = %v, want 1", proc.ParentPID)
	}
	wantTold(t, w)
	if err := p.Processes.Input(proc.PID, "one\ntwo"); err != nil {
		t.Error(err)
	}
	if err := p.Processes.Signal(proc.PID, processes.SIGCONT); err != nil {
		t.Error(err)
	}
	wantTold(t, w, "timed launched with 1 arguments\n", "timed argument 1: -v\n",
		"timed read one\n", "timed read two\n")
	if err := p.Processes.Input(proc.PID, "three\n"); err != nil {
		t.Error(err)
	}
	wantTold(t, w, "timed read three\n")
	// The daemon of the same name keeps its process. Only the daemon is restarted.
	if got, _ := p.Processes.Named("timed"); got.PID != daemon.PID {
		t.Errorf("timed is %+v, want %+v", got, daemon)
	}
	count := len(p.Processes.List())
	if err := p.Processes.Kill(proc.PID); err != nil {
		t.Error(err)
	}
	if n := len(p.Processes.List()); n != count-1 {
		t.Errorf("%d processes after the end of one of %d", n, count)
	}
	wantTold(t, w, "timed ended by 9")
	if got, ok := p.Processes.Named("timed"); !ok {
		t.Error("timed does not run")
	} else if got.PID != daemon.PID {
		t.Errorf("timed has the PID %d, want %d", got.PID, daemon.PID)
	}
	app, _ := p.Apps.Find("com.example.shop")
	attributes := app.Attributes()
	name, _ := attributes.String("CFBundleExecutable")
	if proc, err := p.Processes.Spawn(
		processes.SpawnSpec{
			Path: strings.TrimPrefix(app.Path(), "/private") + "/" + name,
			User: "root",
		},
	); err != nil {
		t.Errorf("Spawn: %v", err)
	} else if proc.User != "root" {
		t.Errorf("Spawn: User = %q, want %q", proc.User, "root")
	} else if proc.BundleID != "" {
		t.Errorf("Spawn: BundleID = %q, want %q", proc.BundleID, "")
	}
}

func TestSpawnRefused(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	app, _ := p.Apps.Find("com.example.shop")
	for file, want := range map[string]error{
		"/usr/libexec/nothere": fs.ErrNotExist, "timed": fs.ErrNotExist, "/" +
			strings.Repeat("x", files.MaxPath): fs.ErrNotExist,
		"/usr/libexec": fs.ErrPermission, "/tmp": fs.ErrPermission, "/kernel": fs.ErrPermission,
		app.Path() + "/Info.plist": fs.ErrPermission,
	} {
		if proc, err := p.Processes.Spawn(processes.SpawnSpec{Path: file}); !errors.Is(err, want) {
			t.Errorf("Spawn(%q): %v, want %v", file, err, want)
		} else if proc != (processes.Process{}) {
			t.Errorf("Spawn(%q) = %+v, want nothing", file, proc)
		}
	}
	for range processes.MaxProcesses {
		spec := processes.SpawnSpec{Path: "/sbin/launchd", Suspended: true}
		if _, err := p.Processes.Spawn(spec); err != nil {
			if !errors.Is(err, files.ErrBusy) {
				t.Errorf("Spawn: %v, want %v", err, files.ErrBusy)
			}
			if len(p.Processes.List()) != processes.MaxProcesses {
				t.Errorf("%d processes, want %d", len(p.Processes.List()), processes.MaxProcesses)
			}
			return
		}
	}
	t.Error("no limit")
}

func TestInput(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	if err := p.Processes.Input(77777, "x\n"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Input = %v", err)
	}
	proc, err := p.Processes.Spawn(processes.SpawnSpec{Path: "/usr/libexec/timed", Suspended: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Processes.Input(proc.PID, strings.Repeat("x\n", 2*processes.MaxHeld)); err != nil {
		t.Error(err)
	}
	if err := p.Processes.Signal(proc.PID, processes.SIGCONT); err != nil {
		t.Error(err)
	}
	if n := len(told(t, w)); n != processes.MaxHeld {
		t.Errorf("%d lines were held, want %d", n, processes.MaxHeld)
	}
}

func TestAuditToken(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	seen := map[[2]uint32]bool{}
	for _, proc := range p.Processes.List() {
		token := p.Processes.AuditToken(proc)
		key := [2]uint32{token[5], token[7]}
		if int(token[5]) != proc.PID {
			t.Errorf("token of %s: PID %d, want %d", proc.Name, token[5], proc.PID)
		}
		if int(int32(token[1])) != processes.UserID(proc.User) {
			t.Errorf("token of %s: UID %d, want %d", proc.Name, int32(token[1]),
				processes.UserID(proc.User))
		}
		if seen[key] {
			t.Errorf("token of %s: another process has the PID and version %v", proc.Name, key)
		}
		if token != p.Processes.AuditToken(proc) {
			t.Errorf("token of %s is not the same the second time", proc.Name)
		}
		seen[key] = true
	}
	before, _ := p.Processes.Find(1)
	old := p.Processes.AuditToken(before)
	p.Boot()
	if after, _ := p.Processes.Find(1); p.Processes.AuditToken(after) == old {
		t.Error("a boot leaves the token as it was")
	}
}

func TestWarnMemory(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	for pid, want := range map[int]error{
		77777: fs.ErrNotExist, 0: fs.ErrPermission, 1: fs.ErrPermission,
	} {
		if err := p.Processes.WarnMemory(pid); !errors.Is(err, want) {
			t.Errorf("WarnMemory(%d) = %v, want %v", pid, err, want)
		}
	}
	proc, err := p.Processes.Launch("com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Processes.WarnMemory(proc.PID); err != nil {
		t.Error(err)
	}
	log := p.Log.History()
	if e := log[len(log)-1]; e.PID != proc.PID {
		t.Errorf("the log ends with an entry of process %d, want %d", e.PID, proc.PID)
	} else if e.Message != "Received memory warning." {
		t.Errorf("the log ends with %q, want a memory warning", e.Message)
	}
}
