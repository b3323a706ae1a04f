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

// State is the state of an app, with the numbers that SpringBoard uses.
type State int

// The states of an app.
const (
	Terminated State = 1
	Suspended  State = 2
	Background State = 4
	Foreground State = 8
)

// String returns the text of the state in notifications.
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

// Signals with their numbers on iOS. Other systems number some of them differently.
const (
	SIGTRAP = 5
	SIGKILL = 9
	SIGSEGV = 11
	SIGTERM = 15
	SIGSTOP = 17
	SIGCONT = 19
	lastSig = 31
)

// ignoredSignals are the signals that a process ignores by default. All others end
// it, except SIGSTOP, SIGCONT and 0.
var ignoredSignals = map[int]bool{16: true, 20: true, 23: true, 28: true, 29: true}

// LaunchSpec says how to launch an app.
type LaunchSpec struct {
	BundleID string
	Args     []string
	Env      map[string]string
	// KillExisting ends the app first if it runs. Without it, an app that runs is
	// brought to the front, and Args and Env are ignored.
	KillExisting bool
	// Suspended stops the app before its first instruction, until SIGCONT.
	Suspended bool
	// Background starts the app in the background; the app in front stays there.
	Background bool
}

// EventKind is the kind of an Event.
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

// Event says that something happened to a process.
type Event struct {
	Kind     EventKind
	Process  Process // zero for a MemoryLevel
	Time     time.Time
	MachTime uint64
	Text     string // of an Output
	State    State  // of a StateChanged
	Signal   int    // of an Ended: the signal that ended the process
	Level    int    // of a MemoryLevel; 0 is normal
}

// run is the state that hosts and the user can change of a process.
type run struct {
	proc      Process
	state     State
	stopped   bool
	unlimited bool
	greeting  []string // lines that the process prints when it begins to run
}

// runs holds the runs of processes and the watches. Its mu is locked before those
// of the table and the log.
type runs struct {
	mu      sync.Mutex
	byPID   map[int]*run
	front   int // PID of the app in front, 0 is the home screen
	watches map[*Watch]struct{}
}

// reset removes all runs at a boot. The watches remain.
func (t *runs) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID, t.front = nil, 0
}

// of returns the run of a process and makes it if there is none. The caller holds
// mu.
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

// Launch starts an app if it does not run yet, brings it to the front, and returns
// its process. The error is fs.ErrNotExist if the app is not installed.
func (p *Processes) Launch(bundleID string) (Process, error) {
	return p.LaunchApp(LaunchSpec{BundleID: bundleID})
}

// LaunchApp launches an app as spec says. The error is fs.ErrNotExist if the app is
// not installed, or that of Options.CheckLaunch if the phone is locked.
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
		_, _ = p.Terminate(old.PID, SIGKILL) // it may have ended already
	}
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, fresh := p.spawn(appProgram(spec.BundleID, path))
	r := p.runs.of(proc)
	if fresh {
		p.o.Log.Writef("SpringBoard", "com.apple.FrontBoard", "Process",
			"[app<%s>:%d] Bootstrap success!",
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

// spawn adds the process of an app. It returns false if the app runs already.
func (p *Processes) spawn(app program) (Process, bool) {
	when := p.o.Clock.Now()
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	t := p.table.ready(p)
	if proc := t.ofBundle(app.bundleID); proc != nil {
		return *proc, false
	}
	return *t.add(p, t.nextAppPID(p), app, when), true
}

// greeting returns the lines that a process prints when it starts: the arguments
// and the environment that it was started with.
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

// begin prints the greeting of a process that begins to run. The caller holds
// runs.mu.
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

// Print makes a process write text to its standard output. The text is logged, too.
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

// toFront brings an app to the front. The caller holds runs.mu.
func (p *Processes) toFront(r *run) {
	if p.runs.front != r.proc.PID {
		p.leaveFront()
	}
	p.runs.front = r.proc.PID
	p.setState(r, Foreground)
}

// leaveFront moves the app in front to the background and suspends it.
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

// Front returns the process of the app in front. It returns false if the home
// screen is in front.
func (p *Processes) Front() (Process, bool) {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	r := p.runs.byPID[p.runs.front]
	if r == nil {
		return Process{}, false
	}
	return r.proc, true
}

// State returns the state of a process. The state of a process that is not an app is
// Background. The state is Terminated if there is no such process.
func (p *Processes) State(pid int) State {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Find(pid)
	if !ok {
		return Terminated
	}
	return p.runs.state(proc)
}

// States returns the states of running processes, in the order of list.
func (p *Processes) States(list []Process) []State {
	out := make([]State, len(list))
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	for i, proc := range list {
		out[i] = p.runs.state(proc)
	}
	return out
}

// state returns the state of a running process. The caller holds mu.
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

// Signal sends a signal to a process. SIGSTOP stops it and SIGCONT continues it.
// Signals that are ignored by default have no effect, and all others end the
// process. Signal 0 only checks that the process exists. The causes of failure are
// those of Kill, and fs.ErrInvalid if there is no such signal.
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

// DisableMemoryLimits removes the memory limits of a process. It returns false if
// there is no such process.
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

// ended removes the run of a process that has ended and tells the watches.
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

// SetMemoryLevel changes the memory pressure and tells the watches. 0 is none.
func (p *Processes) SetMemoryLevel(level int) {
	p.o.Log.Writef("runningboardd", "com.apple.runningboard", "memory", "memory pressure level %d",
		level)
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	p.runs.emit(p.event(Event{Kind: MemoryLevel, Level: level}))
}

func (p *Processes) event(e Event) Event {
	e.Time = p.o.Clock.Now()
	e.MachTime = p.o.Clock.MachTimeAt(e.Time)
	return e
}

// emit delivers an event to the watches. The caller holds mu.
func (t *runs) emit(e Event) {
	for w := range t.watches {
		w.q.Push(nil, e)
	}
}

// watchQueue is the number of events that wait for a slow reader.
const watchQueue = 4096

// Watch receives the events of all processes. Its queue is bounded.
type Watch struct {
	runs *runs
	q    *queue.Queue[Event]
}

// Watch begins to watch all processes. The caller must close the watch.
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

// Dropped returns the number of events that were lost because the reader was slow.
func (w *Watch) Dropped() uint64 { return w.q.Lost() }

// Close ends the watch and every Next that waits.
func (w *Watch) Close() {
	if w.q.Close() {
		w.runs.mu.Lock()
		delete(w.runs.watches, w)
		w.runs.mu.Unlock()
	}
}
