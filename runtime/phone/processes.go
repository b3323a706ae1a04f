package phone

import (
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"
)

// Process is a running process.
type Process struct {
	PID        int
	Name, Path string
	BundleID   string // of an app, else ""
	Started    time.Time
	UUID       [16]byte // of the executable image
	ParentPID  int
	User       string
}

// procTable is the running processes, made at the first look after a boot.
type procTable struct {
	mu     sync.RWMutex
	byPID  map[int]*Process
	byName map[string]int
	next   int
}

// daemonSpec is a process that runs from boot on.
type daemonSpec struct{ path, user, bundleID string }

func (t *procTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID, t.byName = nil, nil
}

// running returns the table read-locked and filled.
func (p *Phone) running() *procTable {
	t := &p.procs
	t.mu.RLock()
	for t.byPID == nil {
		t.mu.RUnlock()
		t.mu.Lock()
		if t.byPID == nil {
			t.fill(p)
		}
		t.mu.Unlock()
		t.mu.RLock()
	}
	return t
}

// fill starts the daemons; the caller holds mu.
func (t *procTable) fill(p *Phone) {
	p.mu.RLock()
	boots, booted := p.boots, p.booted
	p.mu.RUnlock()
	t.byPID, t.byName = map[int]*Process{}, map[string]int{}
	t.next = 2
	when := booted
	for i, d := range daemons {
		pid := i // kernel 0, launchd 1
		if i >= 2 {
			pid = t.nextPID(p, boots)
			when = when.Add(130 * time.Millisecond)
		}
		t.add(p, pid, d, when)
	}
}

// nextPID leaves gaps as the short-lived helpers of a real phone do.
func (t *procTable) nextPID(p *Phone, boots int) int {
	step := 1 + int(mix(p.id.seed+uint64(boots)<<20+uint64(t.next))%4)
	t.next += step
	return t.next
}

func (t *procTable) add(p *Phone, pid int, d daemonSpec, when time.Time) *Process {
	proc := &Process{PID: pid, Name: path.Base(d.path), Path: d.path, BundleID: d.bundleID,
		Started: when, UUID: uuidOf(d.path, p.prof.build), User: d.user}
	if pid > 1 {
		proc.ParentPID = 1
	}
	t.byPID[pid] = proc
	t.byName[proc.Name] = pid
	return proc
}

// Processes lists the running processes by PID.
func (p *Phone) Processes() []Process {
	t := p.running()
	defer t.mu.RUnlock()
	out := make([]Process, 0, len(t.byPID))
	for _, proc := range t.byPID {
		out = append(out, *proc)
	}
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// Process returns the process with the PID.
func (p *Phone) Process(pid int) (Process, bool) {
	t := p.running()
	defer t.mu.RUnlock()
	if proc := t.byPID[pid]; proc != nil {
		return *proc, true
	}
	return Process{}, false
}

// pidOf is the PID of the process of that name, 0 if there is none.
func (p *Phone) pidOf(name string) int {
	t := p.running()
	defer t.mu.RUnlock()
	return t.byName[name]
}

// Launch starts an app, or returns it as it runs already. An app that is not
// installed is fs.ErrNotExist.
func (p *Phone) Launch(bundleID string) (Process, error) {
	app, ok := p.App(bundleID)
	if !ok {
		return Process{}, fail("launch", bundleID, fs.ErrNotExist)
	}
	p.running().mu.RUnlock()
	p.mu.RLock()
	boots := p.boots
	p.mu.RUnlock()
	t := &p.procs
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPID == nil {
		t.fill(p)
	}
	for _, proc := range t.byPID {
		if proc.BundleID == bundleID {
			return *proc, nil
		}
	}
	return *t.add(p, t.nextPID(p, boots), daemonSpec{app.execPath(), "mobile", bundleID}, p.Now()), nil
}

// Kill ends a process. The kernel and launchd cannot be ended
// (fs.ErrPermission); daemons are started again by launchd under a new PID.
func (p *Phone) Kill(pid int) error {
	if pid == 0 || pid == 1 {
		return fail("kill", "", fs.ErrPermission)
	}
	p.running().mu.RUnlock()
	t := &p.procs
	t.mu.Lock()
	defer t.mu.Unlock()
	proc := t.byPID[pid]
	if proc == nil {
		return fail("kill", "", fs.ErrNotExist)
	}
	delete(t.byPID, pid)
	delete(t.byName, proc.Name)
	return nil
}

var daemons = []daemonSpec{
	{"/kernel", "root", ""},
	{"/sbin/launchd", "root", ""},
	{"/usr/libexec/lockdownd", "root", ""},
	{"/System/Library/CoreServices/SpringBoard.app/SpringBoard", "mobile", "com.apple.springboard"},
	{"/usr/libexec/powerd", "root", ""},
}
