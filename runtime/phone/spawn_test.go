package phone

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

func TestSpawn(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	daemon, _ := p.ProcessNamed("timed")
	proc, err := p.Spawn(
		SpawnSpec{Path: "/usr/libexec/timed", Args: []string{"-v"}, Suspended: true},
	)
	if err != nil || proc.PID == daemon.PID || proc.User != "mobile" || proc.ParentPID != 1 {
		t.Fatalf("Spawn = %+v, %v", proc, err)
	}
	wantTold(t, w)
	if err := p.Input(proc.PID, "one\ntwo"); err != nil {
		t.Error(err)
	}
	if err := p.Signal(proc.PID, SIGCONT); err != nil {
		t.Error(err)
	}
	wantTold(t, w, "timed launched with 1 arguments\n", "timed argument 1: -v\n",
		"timed read one\n", "timed read two\n")
	if err := p.Input(proc.PID, "three\n"); err != nil {
		t.Error(err)
	}
	wantTold(t, w, "timed read three\n")
	// The daemon of the same name keeps its own, and only that one is started
	// again.
	if got, _ := p.ProcessNamed("timed"); got.PID != daemon.PID {
		t.Errorf("timed is %+v, want %+v", got, daemon)
	}
	count := len(p.Processes())
	if err := p.Kill(proc.PID); err != nil {
		t.Error(err)
	}
	if n := len(p.Processes()); n != count-1 {
		t.Errorf("%d processes after the end of one of %d", n, count)
	}
	wantTold(t, w, "timed ended by 9")
	if got, ok := p.ProcessNamed("timed"); !ok || got.PID != daemon.PID {
		t.Errorf("timed is %+v, want %+v", got, daemon)
	}
	app, _ := p.App("com.example.shop")
	attributes := app.Attributes()
	name, _ := attributes.String("CFBundleExecutable")
	if proc, err := p.Spawn(
		SpawnSpec{Path: strings.TrimPrefix(app.Path(), "/private") + "/" + name, User: "root"},
	); err != nil || proc.User != "root" || proc.BundleID != "" {
		t.Errorf("Spawn = %+v, %v", proc, err)
	}
}

func TestSpawnRefused(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	app, _ := p.App("com.example.shop")
	for file, want := range map[string]error{
		"/usr/libexec/nothere": fs.ErrNotExist, "timed": fs.ErrNotExist, "/" +
			strings.Repeat("x", files.MaxPath): fs.ErrNotExist,
		"/usr/libexec": fs.ErrPermission, "/tmp": fs.ErrPermission, "/kernel": fs.ErrPermission,
		app.Path() + "/Info.plist": fs.ErrPermission,
	} {
		if proc, err := p.Spawn(SpawnSpec{Path: file}); !errors.Is(err, want) ||
			proc != (Process{}) {
			t.Errorf("Spawn(%q) = %+v, %v, want %v", file, proc, err, want)
		}
	}
	for range maxProcesses {
		if _, err := p.Spawn(SpawnSpec{Path: "/sbin/launchd", Suspended: true}); err != nil {
			if !errors.Is(err, ErrBusy) || len(p.Processes()) != maxProcesses {
				t.Errorf("Spawn = %v with %d processes", err, len(p.Processes()))
			}
			return
		}
	}
	t.Error("no limit")
}

func TestInput(t *testing.T) {
	t.Parallel()
	p, w := launchPhone(t)
	if err := p.Input(77777, "x\n"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Input = %v", err)
	}
	proc, err := p.Spawn(SpawnSpec{Path: "/usr/libexec/timed", Suspended: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Input(proc.PID, strings.Repeat("x\n", 2*maxHeld)); err != nil {
		t.Error(err)
	}
	if err := p.Signal(proc.PID, SIGCONT); err != nil {
		t.Error(err)
	}
	if n := len(told(t, w)); n != maxHeld {
		t.Errorf("%d lines were held, want %d", n, maxHeld)
	}
}

func TestAuditToken(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	seen := map[[2]uint32]bool{}
	for _, proc := range p.Processes() {
		token := p.AuditToken(proc)
		key := [2]uint32{token[5], token[7]}
		if int(token[5]) != proc.PID || int(int32(token[1])) != UserID(proc.User) || seen[key] ||
			token != p.AuditToken(proc) {
			t.Errorf("token of %+v is %v", proc, token)
		}
		seen[key] = true
	}
	before, _ := p.Process(1)
	old := p.AuditToken(before)
	p.Boot()
	if after, _ := p.Process(1); p.AuditToken(after) == old {
		t.Error("a boot leaves the token as it was")
	}
}

func TestWarnMemory(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	for pid, want := range map[int]error{
		77777: fs.ErrNotExist, 0: fs.ErrPermission, 1: fs.ErrPermission,
	} {
		if err := p.WarnMemory(pid); !errors.Is(err, want) {
			t.Errorf("WarnMemory(%d) = %v, want %v", pid, err, want)
		}
	}
	proc, err := p.Launch("com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WarnMemory(proc.PID); err != nil {
		t.Error(err)
	}
	log := p.LogHistory()
	if e := log[len(log)-1]; e.PID != proc.PID || e.Message != "Received memory warning." {
		t.Errorf("log ends with %+v", e)
	}
}

func TestDisplays(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	width, height := p.ScreenSize()
	if d := p.Displays(); len(d) != 1 || d[0] != (Display{
		ID: 1, Name: "LCD", UniqueID: "1", Primary: true, Width: width, Height: height, Scale: 3,
	}) {
		t.Errorf("displays %+v", d)
	}
	if o, fixed := p.Orientation(); o != "portrait" || fixed {
		t.Errorf("orientation %q, %v", o, fixed)
	}
	if !p.ScreenOn() {
		t.Error("the screen is off")
	}
	p.Lock()
	if p.ScreenOn() {
		t.Error("the screen of a locked phone is on")
	}
}

func TestSysdiagnose(t *testing.T) {
	t.Parallel()
	p, _ := launchPhone(t)
	p.Log(LogEntry{PID: 1, Subsystem: "s", Category: "c", Message: "two\nlines"})
	for name, size := range map[string]int{"large": maxDiagnosed + 1, "small": maxDiagnosed} {
		if err := p.CrashReports().WriteFile(name, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for _, logs := range []bool{true, false} {
		name, archive, err := p.Sysdiagnose(logs)
		if err != nil || !strings.HasPrefix(name, "sysdiagnose_") ||
			!strings.HasSuffix(name, "_iPhone-OS_iPhone_"+p.BuildVersion()+".tar.gz") {
			t.Fatalf("Sysdiagnose = %q, %v", name, err)
		}
		z, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.TrimPrefix(h.Name, strings.TrimSuffix(name, ".tar.gz")+"/")] = string(b)
		}
		if text := files["system_logs.txt"]; strings.Contains(text,
			"launchd[1] <Notice>: [s:c] two lines\n") != logs {
			t.Errorf("logs %v: %q", logs, text)
		}
		if _, ok := files["crashes_and_spins/large"]; ok ||
			len(files["crashes_and_spins/small"]) != maxDiagnosed {
			t.Errorf("large file: %v, small file of %d bytes", ok,
				len(files["crashes_and_spins/small"]))
		}
		if !strings.Contains(files["ps.txt"], "/sbin/launchd\n") ||
			files["crashes_and_spins/Panics"] != "" || len(files) < 10 {
			t.Errorf("archive of %d files, processes %q", len(files), files["ps.txt"])
		}
	}
}
