// Package processes has the processes of the phone: the daemons, the apps and the
// executables that hosts start, with their signals, output and states.
package processes

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// Process is a running process.
type Process struct {
	PID        int
	Name, Path string
	BundleID   string // of an app, otherwise ""
	Started    time.Time
	UUID       [16]byte // of the executable image
	ParentPID  int
	User       string

	spawned bool // started by Spawn: launchd does not restart it
}

// program describes the executable of a process.
type program struct{ path, user, bundleID string }

func appProgram(bundleID, path string) program { return program{path, "mobile", bundleID} }

// Options of Processes.
type Options struct {
	Identity *identity.Identity
	Clock    *clock.Clock
	Log      *log.Log
	// App returns the path of the executable of an installed app.
	App func(bundleID string) (executable string, ok bool)
	// CheckExecutable returns nil if the path is that of the executable of an app,
	// fs.ErrPermission if it is that of another file, and otherwise fs.ErrNotExist.
	CheckExecutable func(path string) error
	// CheckLaunch returns the reason why apps cannot be launched now, or nil.
	CheckLaunch func() error
}

// Processes holds the processes of a phone. All methods may be called concurrently.
type Processes struct {
	o     Options
	table table
	runs  runs
}

// New returns the processes of a phone that has booted.
func New(o Options) *Processes { return &Processes{o: o} }

// Boot ends all processes and starts the daemons. Watches remain open.
func (p *Processes) Boot() {
	p.table.reset()
	p.runs.reset()
}

// table holds the running processes. It is filled at its first use after a boot.
type table struct {
	mu     sync.RWMutex
	boot   int // the boot that the table belongs to
	byPID  map[int]*Process
	byName map[string]*Process
	last   int // the PID that was assigned last
}

// firstPID is the PID after which a new boot assigns PIDs to the processes after
// launchd.
const firstPID = 20

// firstAppPID is the smallest PID of an app. By the time that the first app starts, the daemons
// and their helpers have used the smaller ones.
const firstAppPID = 301

// maxPID is the largest PID. After it the kernel continues with small ones. A client may
// refuse larger PIDs.
const maxPID = 99_998

func (t *table) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID, t.byName = nil, nil
}

// ready fills the table if it is empty. The caller holds mu for writing.
func (t *table) ready(p *Processes) *table {
	if t.byPID != nil {
		return t
	}
	booted, boots := p.o.Clock.Booted()
	t.boot, t.last = boots, firstPID
	t.byPID, t.byName = make(map[int]*Process,
		len(daemons)+8), make(map[string]*Process, len(daemons)+8)
	t.add(p, 0, daemons[0], booted)
	t.add(p, 1, daemons[1], booted)
	for i, d := range daemons[2:] {
		t.add(p, t.nextPID(p), d, booted.Add(time.Duration(i+8)*130*time.Millisecond))
	}
	for i, id := range prelaunched {
		if path, ok := p.o.App(id); ok {
			when := booted.Add(time.Duration(i+1) * 11 * time.Minute)
			t.add(p, t.nextAppPID(p), appProgram(id, path), when)
		}
	}
	return t
}

// nextPID returns a free PID. It leaves gaps, since on a real phone short-lived
// processes use PIDs as well.
func (t *table) nextPID(p *Processes) int {
	for {
		t.last += 1 + int(files.Mix(p.o.Identity.Seed^uint64(t.boot)<<32^uint64(t.last))%4)
		if t.last > maxPID {
			t.last = firstPID
		}
		if t.byPID[t.last] == nil {
			return t.last
		}
	}
}

// nextAppPID returns a free PID for an app.
func (t *table) nextAppPID(p *Processes) int {
	for {
		t.last = max(t.last, firstAppPID-1)
		if pid := t.nextPID(p); pid >= firstAppPID {
			return pid
		}
	}
}

func (t *table) add(p *Processes, pid int, d program, when time.Time) *Process {
	proc := &Process{PID: pid, Name: path.Base(d.path), Path: d.path, BundleID: d.bundleID,
		Started: when, UUID: identity.UUID(d.path, p.o.Identity.Build), User: d.user}
	if pid > 1 {
		proc.ParentPID = 1
	}
	t.byPID[pid] = proc
	t.byName[proc.Name] = proc
	return proc
}

func (t *table) remove(proc *Process) {
	delete(t.byPID, proc.PID)
	if t.byName[proc.Name] == proc {
		delete(t.byName, proc.Name)
	}
}

// look calls fn with the table, which is filled and locked.
func (p *Processes) look(fn func(*table)) {
	t := &p.table
	t.mu.RLock()
	if t.byPID != nil {
		defer t.mu.RUnlock()
		fn(t)
		return
	}
	t.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(t.ready(p))
}

// List lists the running processes by PID.
func (p *Processes) List() []Process {
	var out []Process
	p.look(func(t *table) {
		out = make([]Process, 0, len(t.byPID))
		for _, proc := range t.byPID {
			out = append(out, *proc)
		}
	})
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// Find returns the process with the PID.
func (p *Processes) Find(pid int) (proc Process, ok bool) {
	p.look(func(t *table) {
		if found := t.byPID[pid]; found != nil {
			proc, ok = *found, true
		}
	})
	return proc, ok
}

// Named returns the newest process with the short name.
func (p *Processes) Named(name string) (proc Process, ok bool) {
	p.look(func(t *table) {
		if found := t.byName[name]; found != nil {
			proc, ok = *found, true
		}
	})
	return proc, ok
}

// OfApp returns the process of an app that runs.
func (p *Processes) OfApp(bundleID string) (proc Process, ok bool) {
	p.look(func(t *table) {
		if found := t.ofBundle(bundleID); found != nil {
			proc, ok = *found, true
		}
	})
	return proc, ok
}

func (t *table) ofBundle(bundleID string) *Process {
	for _, proc := range t.byPID {
		if proc.BundleID == bundleID {
			return proc
		}
	}
	return nil
}

// Kill ends a process. The error is fs.ErrPermission for the kernel and launchd,
// and fs.ErrNotExist for an unknown PID. launchd restarts a daemon at once, with
// another PID.
func (p *Processes) Kill(pid int) error {
	_, err := p.Terminate(pid, SIGKILL)
	return failure.Wrap("kill", strconv.Itoa(pid), err)
}

// Terminate ends a process by a signal and returns the process. The causes of failure are
// those of Kill.
func (p *Processes) Terminate(pid, signal int) (Process, error) {
	return p.terminate(pid, signal, true)
}

// terminate implements Terminate. Unless again is set, launchd does not restart a daemon.
func (p *Processes) terminate(pid, signal int, again bool) (Process, error) {
	if pid == 0 || pid == 1 {
		return Process{}, fs.ErrPermission
	}
	when := p.o.Clock.Now()
	p.table.mu.Lock()
	t := p.table.ready(p)
	proc := t.byPID[pid]
	if proc == nil {
		p.table.mu.Unlock()
		return Process{}, fs.ErrNotExist
	}
	t.remove(proc)
	out := *proc
	if again && !proc.IsApp() && !proc.spawned {
		t.add(p, t.nextPID(p), program{proc.Path, proc.User, proc.BundleID}, when)
	}
	p.table.mu.Unlock()
	p.ended(out, signal)
	p.o.Log.Write(log.Entry{PID: 1, Subsystem: "com.apple.xpc.launchd", Category: "service",
		Message: fmt.Sprintf("exited due to %s | sent by launchd[1]: %s[%d]", signalName(signal),
			out.Name, out.PID)})
	return out, nil
}

func signalName(signal int) string {
	if signal == SIGKILL {
		return "SIGKILL"
	}
	return "signal " + strconv.Itoa(signal)
}

// IsApp reports whether the process is an app, which launchd does not restart when
// it ends. SpringBoard has a bundle identifier, but launchd restarts it.
func (proc *Process) IsApp() bool { return proc.BundleID != "" && proc.Name != "SpringBoard" }

// StopDaemon ends a daemon. It does not run again before StartDaemon or a boot.
func (p *Processes) StopDaemon(name string) {
	if proc, ok := p.Named(name); ok {
		_, _ = p.terminate(proc.PID, SIGKILL, false) // gone already is as good
	}
}

// StartDaemon starts a daemon if it does not run.
func (p *Processes) StartDaemon(name string) {
	when := p.o.Clock.Now()
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	t := p.table.ready(p)
	if t.byName[name] != nil {
		return
	}
	for _, d := range daemons[2:] {
		if path.Base(d.path) == name {
			t.add(p, t.nextPID(p), d, when)
			return
		}
	}
}

// EndApp kills an app if it runs.
func (p *Processes) EndApp(bundleID string) {
	if proc, ok := p.OfApp(bundleID); ok {
		_, _ = p.Terminate(proc.PID, SIGKILL) // gone already is as good
	}
}
