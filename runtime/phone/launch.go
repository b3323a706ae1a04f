package phone

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// AppState is what SpringBoard thinks of an app, with its numbers.
type AppState int

// The states of an app.
const (
	AppTerminated AppState = 1
	AppSuspended  AppState = 2
	AppBackground AppState = 4
	AppForeground AppState = 8
)

// String is the text that the notifications carry.
func (s AppState) String() string {
	switch s {
	case AppTerminated:
		return "Terminated"
	case AppSuspended:
		return "Background Task Suspended"
	case AppBackground:
		return "Background Running"
	case AppForeground:
		return "Foreground Running"
	}
	return "AppState(" + strconv.Itoa(int(s)) + ")"
}

// Signals as iOS numbers them, which is not how every host does.
const (
	SIGTRAP = 5
	SIGKILL = 9
	SIGSEGV = 11
	SIGTERM = 15
	SIGSTOP = 17
	SIGCONT = 19
	lastSig = 31
)

// ignoredSignals do nothing to a process that handles none. Those that are not
// here, and neither stop nor go on, end it.
var ignoredSignals = map[int]bool{16: true, 20: true, 23: true, 28: true, 29: true}

// LaunchSpec says how an app is to be started.
type LaunchSpec struct {
	BundleID string
	Args     []string
	Env      map[string]string
	// KillExisting ends the instance that runs. Without it a running app is
	// brought to the front and gets neither arguments nor environment.
	KillExisting bool
	// Suspended stops the app before its first instruction, until SIGCONT.
	Suspended bool
	// Background leaves the app that is in front where it is.
	Background bool
}

// ProcessEventKind says what a ProcessEvent is about.
type ProcessEventKind int

// The kinds of events.
const (
	// ProcessOutput is text on standard output or error.
	ProcessOutput ProcessEventKind = iota
	// ProcessState is a new state of an app.
	ProcessState
	// ProcessEnded is the end of a process.
	ProcessEnded
	// MemoryLevel is a change of the memory pressure.
	MemoryLevel
)

// ProcessEvent is something that happened to a process.
type ProcessEvent struct {
	Kind     ProcessEventKind
	Process  Process // zero for a MemoryLevel
	Time     time.Time
	MachTime uint64
	Text     string   // of an output
	State    AppState // of a state
	Signal   int      // what ended the process
	Level    int      // of the memory, 0 is normal
}

// run is what a host or user made of a process.
type run struct {
	proc      Process
	state     AppState
	stopped   bool
	unlimited bool
	greeting  []string // what the app prints when it begins to run
}

// runTable is the life of the apps. Its mu is taken before those of processes
// and log.
type runTable struct {
	mu      sync.Mutex
	byPID   map[int]*run
	front   int // PID of the app in front, 0 is the home screen
	watches map[*ProcessWatch]struct{}
}

// reset forgets everything but the watches, as a boot does.
func (t *runTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID, t.front = nil, 0
}

// of returns the run of a process; the caller holds mu.
func (t *runTable) of(proc Process) *run {
	if t.byPID == nil {
		t.byPID = map[int]*run{}
	}
	r := t.byPID[proc.PID]
	if r == nil {
		r = &run{proc: proc, state: AppSuspended}
		t.byPID[proc.PID] = r
	}
	return r
}

// Launch starts an app, or returns it as it runs already, and brings it to the
// front. An app that is not installed is fs.ErrNotExist.
func (p *Phone) Launch(bundleID string) (Process, error) {
	return p.LaunchApp(LaunchSpec{BundleID: bundleID})
}

// LaunchApp starts an app as told. An app that is not installed is
// fs.ErrNotExist; while the phone is locked by a passcode it is
// ErrPasswordProtected.
func (p *Phone) LaunchApp(spec LaunchSpec) (Process, error) {
	a, ok := p.App(spec.BundleID)
	if !ok {
		return Process{}, fail("launch", spec.BundleID, fs.ErrNotExist)
	}
	if p.Locked() {
		return Process{}, fail("launch", spec.BundleID, ErrPasswordProtected)
	}
	for spec.KillExisting {
		old, ok := p.RunningApp(spec.BundleID)
		if !ok {
			break
		}
		_, _ = p.terminate(old.PID, SIGKILL) // gone already is as good
	}
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, fresh := p.spawn(a)
	r := p.runs.of(proc)
	if fresh {
		p.logf("SpringBoard", "com.apple.FrontBoard", "Process", "[app<%s>:%d] Bootstrap success!",
			spec.BundleID, proc.PID)
		p.logf("runningboardd", "com.apple.runningboard", "process",
			"Acquiring assertion targeting [app<%s>:%d]", spec.BundleID, proc.PID)
		r.stopped, r.greeting = spec.Suspended, greeting(proc, spec)
	}
	if spec.Background {
		p.setState(r, AppBackground)
	} else {
		p.toFront(r)
	}
	if !r.stopped {
		p.begin(r)
	}
	return proc, nil
}

// spawn adds the process of an app unless there is one.
func (p *Phone) spawn(a *App) (Process, bool) {
	when := p.Now()
	p.procs.mu.Lock()
	defer p.procs.mu.Unlock()
	t := p.procs.ready(p)
	if proc := t.ofBundle(a.BundleID()); proc != nil {
		return *proc, false
	}
	return *t.add(p, t.nextPID(p), a.daemon(), when), true
}

// greeting is what an app prints when it starts: what it was given.
func greeting(proc Process, spec LaunchSpec) []string {
	lines := []string{fmt.Sprintf("%s: launched with %d arguments", proc.Name, len(spec.Args))}
	for i, arg := range spec.Args {
		lines = append(lines, fmt.Sprintf("%s: argument %d: %s", proc.Name, i+1, arg))
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Env)) {
		lines = append(lines, fmt.Sprintf("%s: environment %s=%s", proc.Name, key, spec.Env[key]))
	}
	return lines
}

// begin lets an app run; the caller holds runs.mu.
func (p *Phone) begin(r *run) {
	for _, line := range r.greeting {
		p.print(r.proc, line+"\n")
	}
	r.greeting = nil
}

func (p *Phone) print(proc Process, text string) {
	p.Log(LogEntry{PID: proc.PID, Message: trimNewline(text)})
	p.runs.emit(p.event(ProcessEvent{Kind: ProcessOutput, Process: proc, Text: text}))
}

func trimNewline(s string) string {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		return s[:n-1]
	}
	return s
}

// Print makes a process write to its standard output, which is logged as well.
func (p *Phone) Print(pid int, text string) error {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Process(pid)
	if !ok {
		return fail("print", strconv.Itoa(pid), fs.ErrNotExist)
	}
	p.print(proc, text)
	return nil
}

// toFront makes an app the one in front; the caller holds runs.mu.
func (p *Phone) toFront(r *run) {
	if p.runs.front != r.proc.PID {
		p.leaveFront()
	}
	p.runs.front = r.proc.PID
	p.setState(r, AppForeground)
}

// leaveFront suspends the app in front, by way of the background.
func (p *Phone) leaveFront() {
	if r := p.runs.byPID[p.runs.front]; r != nil {
		p.setState(r, AppBackground)
		p.setState(r, AppSuspended)
	}
	p.runs.front = 0
}

func (p *Phone) setState(r *run, s AppState) {
	if r.state == s {
		return
	}
	r.state = s
	p.runs.emit(p.event(ProcessEvent{Kind: ProcessState, Process: r.proc, State: s}))
}

// GoHome brings the home screen to the front.
func (p *Phone) GoHome() {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	p.leaveFront()
}

// FrontApp returns the process of the app in front; without one the home
// screen shows.
func (p *Phone) FrontApp() (Process, bool) {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	r := p.runs.byPID[p.runs.front]
	if r == nil {
		return Process{}, false
	}
	return r.proc, true
}

// AppState returns the state of a running app's process. A process that is no
// app counts as running in the background, one that is not there as
// terminated.
func (p *Phone) AppState(pid int) AppState {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Process(pid)
	if !ok {
		return AppTerminated
	}
	return p.runs.state(proc)
}

// state returns the state of a process that runs; the caller holds mu.
func (t *runTable) state(proc Process) AppState {
	switch r := t.byPID[proc.PID]; {
	case r != nil && r.stopped:
		return AppSuspended
	case !proc.isApp():
		return AppBackground
	case r != nil:
		return r.state
	}
	return AppSuspended
}

// Signal sends a signal to a process. SIGSTOP and SIGCONT stop it and let it
// go on, those that are ignored by default do nothing, any other ends it; 0
// only looks whether it is there. The causes are as those of Kill, and
// ErrInvalid for what is not a signal.
func (p *Phone) Signal(pid, signal int) error {
	err := p.signal(pid, signal)
	return fail("signal", strconv.Itoa(pid), err)
}

func (p *Phone) signal(pid, signal int) error {
	if signal < 0 || signal > lastSig {
		return ErrInvalid
	}
	p.runs.mu.Lock()
	proc, ok := p.Process(pid)
	switch {
	case !ok:
		p.runs.mu.Unlock()
		return fs.ErrNotExist
	case pid <= 1 && signal != 0:
		p.runs.mu.Unlock()
		return fs.ErrPermission
	case signal == SIGSTOP:
		p.runs.of(proc).stopped = true
	case signal == SIGCONT:
		r := p.runs.of(proc)
		r.stopped = false
		p.begin(r)
	case signal == 0 || ignoredSignals[signal]:
	default:
		p.runs.mu.Unlock()
		_, err := p.terminate(pid, signal)
		return err
	}
	p.runs.mu.Unlock()
	return nil
}

// DisableMemoryLimits frees a process from the limits of jetsam. It reports
// whether the process is there.
func (p *Phone) DisableMemoryLimits(pid int) bool {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Process(pid)
	if ok {
		p.runs.of(proc).unlimited = true
	}
	return ok
}

// MemoryUnlimited reports whether DisableMemoryLimits was called on a process.
func (p *Phone) MemoryUnlimited(pid int) bool {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	r := p.runs.byPID[pid]
	return r != nil && r.unlimited
}

// ended tells the watches of a process that is gone.
func (p *Phone) ended(proc Process, signal int) {
	t := &p.runs
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byPID, proc.PID)
	if t.front == proc.PID {
		t.front = 0
	}
	if proc.isApp() {
		t.emit(p.event(ProcessEvent{Kind: ProcessState, Process: proc, State: AppTerminated}))
	}
	t.emit(p.event(ProcessEvent{Kind: ProcessEnded, Process: proc, Signal: signal}))
}

// SetMemoryLevel changes the memory pressure, 0 being none, and tells all apps.
func (p *Phone) SetMemoryLevel(level int) {
	p.logf("runningboardd", "com.apple.runningboard", "memory", "memory pressure level %d", level)
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	p.runs.emit(p.event(ProcessEvent{Kind: MemoryLevel, Level: level}))
}

func (p *Phone) event(e ProcessEvent) ProcessEvent {
	e.Time = p.Now()
	e.MachTime = p.machTime(e.Time)
	return e
}

// MachTime is the time since boot in ticks of 24 MHz.
func (p *Phone) MachTime() uint64 { return p.machTime(p.Now()) }

// emit hands an event to the watches; the caller holds mu.
func (t *runTable) emit(e ProcessEvent) {
	for w := range t.watches {
		w.q.push(nil, e)
	}
}

// ProcessWatch is a bounded view of what happens to the processes.
type ProcessWatch struct {
	table *runTable
	q     *queue[ProcessEvent]
}

// WatchProcesses begins to watch all processes. Close the watch.
func (p *Phone) WatchProcesses() *ProcessWatch {
	w := &ProcessWatch{table: &p.runs, q: newQueue[ProcessEvent](watchQueue)}
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	if p.runs.watches == nil {
		p.runs.watches = map[*ProcessWatch]struct{}{}
	}
	p.runs.watches[w] = struct{}{}
	return w
}

// Next waits for the next event. After Close it fails with net.ErrClosed.
func (w *ProcessWatch) Next(ctx context.Context) (ProcessEvent, error) {
	var one [1]ProcessEvent
	if _, err := w.q.pop(ctx, one[:]); err != nil {
		return ProcessEvent{}, &Error{Op: "next process event", Err: err}
	}
	return one[0], nil
}

// Dropped counts the events lost because nobody called Next.
func (w *ProcessWatch) Dropped() uint64 { return w.q.lost() }

// Close ends the watch and every Next that waits.
func (w *ProcessWatch) Close() {
	if w.q.close() {
		w.table.mu.Lock()
		delete(w.table.watches, w)
		w.table.mu.Unlock()
	}
}
