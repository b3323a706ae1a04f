package processes

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/queue"
)

// State is what SpringBoard thinks of an app, with its numbers.
type State int

// The states of an app.
const (
	Terminated State = 1
	Suspended  State = 2
	Background State = 4
	Foreground State = 8
)

// String is the text that the notifications carry.
func (s State) String() string {
	switch s {
	case Terminated:
		return "Terminated"
	case Suspended:
		return "Background Task Suspended"
	case Background:
		return "Background Running"
	case Foreground:
		return "Foreground Running"
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
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

// EventKind says what a Event is about.
type EventKind int

// The kinds of events.
const (
	// Output is text on standard output or error.
	Output EventKind = iota
	// StateChanged is a new state of an app.
	StateChanged
	// Ended is the end of a process.
	Ended
	// MemoryLevel is a change of the memory pressure.
	MemoryLevel
)

// Event is something that happened to a process.
type Event struct {
	Kind     EventKind
	Process  Process // zero for a MemoryLevel
	Time     time.Time
	MachTime uint64
	Text     string // of an output
	State    State  // of a state
	Signal   int    // what ended the process
	Level    int    // of the memory, 0 is normal
}

// run is what a host or user made of a process.
type run struct {
	proc      Process
	state     State
	stopped   bool
	unlimited bool
	greeting  []string // what the app prints when it begins to run
}

// runs is the life of the apps. Its mu is taken before those of processes
// and log.
type runs struct {
	mu      sync.Mutex
	byPID   map[int]*run
	front   int // PID of the app in front, 0 is the home screen
	watches map[*Watch]struct{}
}

// reset forgets everything but the watches, as a boot does.
func (t *runs) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID, t.front = nil, 0
}

// of returns the run of a process; the caller holds mu.
func (t *runs) of(proc Process) *run {
	if t.byPID == nil {
		t.byPID = map[int]*run{}
	}
	r := t.byPID[proc.PID]
	if r == nil {
		r = &run{proc: proc, state: Suspended}
		t.byPID[proc.PID] = r
	}
	return r
}

// Launch starts an app, or returns it as it runs already, and brings it to the
// front. An app that is not installed is fs.ErrNotExist.
func (p *Processes) Launch(bundleID string) (Process, error) {
	return p.LaunchApp(LaunchSpec{BundleID: bundleID})
}

// LaunchApp starts an app as told. An app that is not installed is
// fs.ErrNotExist; on a locked phone the cause is that of Options.CheckLaunch.
func (p *Processes) LaunchApp(spec LaunchSpec) (Process, error) {
	path, ok := p.o.App(spec.BundleID)
	if !ok {
		return Process{}, failure.Wrap("launch", spec.BundleID, fs.ErrNotExist)
	}
	if err := p.o.CheckLaunch(); err != nil {
		return Process{}, failure.Wrap("launch", spec.BundleID, err)
	}
	for spec.KillExisting {
		old, ok := p.OfApp(spec.BundleID)
		if !ok {
			break
		}
		_, _ = p.Terminate(old.PID, SIGKILL) // gone already is as good
	}
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, fresh := p.spawn(appProgram(spec.BundleID, path))
	r := p.runs.of(proc)
	if fresh {
		p.o.Log.Writef("SpringBoard", "com.apple.FrontBoard", "Process", "[app<%s>:%d] Bootstrap success!",
			spec.BundleID, proc.PID)
		p.o.Log.Writef("runningboardd", "com.apple.runningboard", "process",
			"Acquiring assertion targeting [app<%s>:%d]", spec.BundleID, proc.PID)
		r.stopped, r.greeting = spec.Suspended, greeting(proc, spec)
	}
	if spec.Background {
		p.setState(r, Background)
	} else {
		p.toFront(r)
	}
	if !r.stopped {
		p.begin(r)
	}
	return proc, nil
}

// spawn adds the process of an app unless there is one.
func (p *Processes) spawn(app program) (Process, bool) {
	when := p.o.Clock.Now()
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	t := p.table.ready(p)
	if proc := t.ofBundle(app.bundleID); proc != nil {
		return *proc, false
	}
	return *t.add(p, t.nextPID(p), app, when), true
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
func (p *Processes) begin(r *run) {
	for _, line := range r.greeting {
		p.print(r.proc, line+"\n")
	}
	r.greeting = nil
}

func (p *Processes) print(proc Process, text string) {
	p.o.Log.Write(log.Entry{PID: proc.PID, Message: trimNewline(text)})
	p.runs.emit(p.event(Event{Kind: Output, Process: proc, Text: text}))
}

func trimNewline(s string) string {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		return s[:n-1]
	}
	return s
}

// Print makes a process write to its standard output, which is logged as well.
func (p *Processes) Print(pid int, text string) error {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Find(pid)
	if !ok {
		return failure.Wrap("print", strconv.Itoa(pid), fs.ErrNotExist)
	}
	p.print(proc, text)
	return nil
}

// toFront makes an app the one in front; the caller holds runs.mu.
func (p *Processes) toFront(r *run) {
	if p.runs.front != r.proc.PID {
		p.leaveFront()
	}
	p.runs.front = r.proc.PID
	p.setState(r, Foreground)
}

// leaveFront suspends the app in front, by way of the background.
func (p *Processes) leaveFront() {
	if r := p.runs.byPID[p.runs.front]; r != nil {
		p.setState(r, Background)
		p.setState(r, Suspended)
	}
	p.runs.front = 0
}

func (p *Processes) setState(r *run, s State) {
	if r.state == s {
		return
	}
	r.state = s
	p.runs.emit(p.event(Event{Kind: StateChanged, Process: r.proc, State: s}))
}

// GoHome brings the home screen to the front.
func (p *Processes) GoHome() {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	p.leaveFront()
}

// Front returns the process of the app in front; without one the home
// screen shows.
func (p *Processes) Front() (Process, bool) {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	r := p.runs.byPID[p.runs.front]
	if r == nil {
		return Process{}, false
	}
	return r.proc, true
}

// State returns the state of a running app's process. A process that is no
// app counts as running in the background, one that is not there as
// terminated.
func (p *Processes) State(pid int) State {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Find(pid)
	if !ok {
		return Terminated
	}
	return p.runs.state(proc)
}

// States returns the states of processes that run.
func (p *Processes) States(list []Process) []State {
	out := make([]State, len(list))
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	for i, proc := range list {
		out[i] = p.runs.state(proc)
	}
	return out
}

// state returns the state of a process that runs; the caller holds mu.
func (t *runs) state(proc Process) State {
	switch r := t.byPID[proc.PID]; {
	case r != nil && r.stopped:
		return Suspended
	case !proc.IsApp():
		return Background
	case r != nil:
		return r.state
	}
	return Suspended
}

// Signal sends a signal to a process. SIGSTOP and SIGCONT stop it and let it
// go on, those that are ignored by default do nothing, any other ends it; 0
// only looks whether it is there. The causes are as those of Kill, and
// fs.ErrInvalid for what is not a signal.
func (p *Processes) Signal(pid, signal int) error {
	err := p.signal(pid, signal)
	return failure.Wrap("signal", strconv.Itoa(pid), err)
}

func (p *Processes) signal(pid, signal int) error {
	if signal < 0 || signal > lastSig {
		return fs.ErrInvalid
	}
	p.runs.mu.Lock()
	proc, ok := p.Find(pid)
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
		_, err := p.Terminate(pid, signal)
		return err
	}
	p.runs.mu.Unlock()
	return nil
}

// DisableMemoryLimits frees a process from the limits of jetsam. It reports
// whether the process is there.
func (p *Processes) DisableMemoryLimits(pid int) bool {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Find(pid)
	if ok {
		p.runs.of(proc).unlimited = true
	}
	return ok
}

// MemoryUnlimited reports whether DisableMemoryLimits was called on a process.
func (p *Processes) MemoryUnlimited(pid int) bool {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	r := p.runs.byPID[pid]
	return r != nil && r.unlimited
}

// ended tells the watches of a process that is gone.
func (p *Processes) ended(proc Process, signal int) {
	t := &p.runs
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byPID, proc.PID)
	if t.front == proc.PID {
		t.front = 0
	}
	if proc.IsApp() {
		t.emit(p.event(Event{Kind: StateChanged, Process: proc, State: Terminated}))
	}
	t.emit(p.event(Event{Kind: Ended, Process: proc, Signal: signal}))
}

// SetMemoryLevel changes the memory pressure, 0 being none, and tells all apps.
func (p *Processes) SetMemoryLevel(level int) {
	p.o.Log.Writef("runningboardd", "com.apple.runningboard", "memory", "memory pressure level %d", level)
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	p.runs.emit(p.event(Event{Kind: MemoryLevel, Level: level}))
}

func (p *Processes) event(e Event) Event {
	e.Time = p.o.Clock.Now()
	e.MachTime = p.o.Clock.MachTimeAt(e.Time)
	return e
}

// emit hands an event to the watches; the caller holds mu.
func (t *runs) emit(e Event) {
	for w := range t.watches {
		w.q.Push(nil, e)
	}
}

// watchQueue is how many events wait for a slow watch.
const watchQueue = 4096

// Watch is a bounded view of what happens to the processes.
type Watch struct {
	runs *runs
	q    *queue.Queue[Event]
}

// Watch begins to watch all processes. Close the watch.
func (p *Processes) Watch() *Watch {
	w := &Watch{runs: &p.runs, q: queue.New[Event](watchQueue)}
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	if p.runs.watches == nil {
		p.runs.watches = map[*Watch]struct{}{}
	}
	p.runs.watches[w] = struct{}{}
	return w
}

// Next waits for the next event. After Close it fails with net.ErrClosed.
func (w *Watch) Next(ctx context.Context) (Event, error) {
	var one [1]Event
	if _, err := w.q.Pop(ctx, one[:]); err != nil {
		return Event{}, &failure.Error{Op: "next process event", Err: err}
	}
	return one[0], nil
}

// Dropped counts the events lost because nobody called Next.
func (w *Watch) Dropped() uint64 { return w.q.Lost() }

// Close ends the watch and every Next that waits.
func (w *Watch) Close() {
	if w.q.Close() {
		w.runs.mu.Lock()
		delete(w.runs.watches, w)
		w.runs.mu.Unlock()
	}
}
