// Package log is the unified log of the phone: the latest entries, the watches that read
// the log, and the lines that daemons log by themselves while there is a watch.
package log

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/queue"
)

// Level is the level of a log entry, with the numbers of os_log.
type Level uint8

// The levels.
const (
	// LevelDefault is what the text log calls Notice.
	LevelDefault Level = 0x00
	// LevelInfo is delivered only to watches with WatchOptions.Info.
	LevelInfo Level = 0x01
	// LevelDebug is delivered only to watches with WatchOptions.Debug.
	LevelDebug Level = 0x02
	// LevelError is an error of the process that logs.
	LevelError Level = 0x10
	// LevelFault is an error of the system.
	LevelFault Level = 0x11
)

// String returns the name of the level in the text log.
func (l Level) String() string {
	switch l {
	case LevelDefault:
		return "Notice"
	case LevelInfo:
		return "Info"
	case LevelDebug:
		return "Debug"
	case LevelError:
		return "Error"
	case LevelFault:
		return "Fault"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// Entry is one message of the unified log. All watches share it, so it must not be
// changed.
type Entry struct {
	Time                   time.Time
	PID                    int
	ProcessPath, ImagePath string // of the executable, of the library that logs
	ProcessUUID, ImageUUID [16]byte
	ThreadID, ActivityID   uint64
	ImageOffset            uint32
	Level                  Level
	Subsystem, Category    string // both or none
	Message                string
	MachTime               uint64 // ticks of 24 MHz since boot
}

// Bounds of the log.
const (
	historySize = 1024 // entries that History remembers
	watchQueue  = 4096 // default of WatchOptions.Queue
	defaultRate = 20
	maxRate     = 100_000
)

// WatchOptions choose what a watch receives. Default, Error and Fault
// always arrive.
type WatchOptions struct {
	// PID is the process, -1 for all. 0 is the kernel.
	PID int
	// Info and Debug add these levels.
	Info, Debug bool
	// Queue is the number of entries that wait for a slow reader. If there are
	// more, the oldest are dropped. 0 means 4096.
	Queue int
}

// Sender is a process that logs.
type Sender struct {
	PID  int
	Path string // of the executable
	UUID [16]byte
}

// Options of a Log.
type Options struct {
	Identity *identity.Identity
	Clock    *clock.Clock
	// ByPID and ByName find a running process.
	ByPID  func(pid int) (Sender, bool)
	ByName func(name string) (Sender, bool)
	// Rate is the number of lines a second that the daemons log by themselves while
	// there is a watch. 0 means 20, a negative number means none.
	Rate float64
}

// Log stores entries and delivers them to the watches. All methods may be called
// concurrently.
type Log struct {
	o Options

	mu      sync.Mutex
	ring    []*Entry // the last historySize entries, oldest at next once full
	next    int
	watches []*Watch
	rate    float64
	seeded  bool // seedHistory has added the entries of the past
	gen     generator
}

// New returns an empty log.
func New(o Options) *Log {
	l := &Log{o: o, rate: normalRate(o.Rate)}
	l.gen.images = sync.OnceValue(func() [][16]byte { return imageUUIDs(o.Identity.Build) })
	return l
}

func normalRate(rate float64) float64 {
	switch {
	case rate == 0:
		return defaultRate
	case rate > 0:
		return min(rate, maxRate)
	}
	return 0
}

// Write writes an entry. It fills in the time, the thread and the mach time if
// they are zero, and the paths and UUIDs of the process.
func (l *Log) Write(e Entry) {
	l.fillIn(&e)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put([]*Entry{&e})
}

// WriteAs writes an entry of the daemon with the given name.
func (l *Log) WriteAs(process string, e Entry) {
	from, _ := l.o.ByName(process)
	e.PID = from.PID
	l.Write(e)
}

// Writef formats and writes a line of the daemon with the given name.
func (l *Log) Writef(process, subsystem, category, format string, args ...any) {
	l.WriteAs(process, Entry{
		Subsystem: subsystem, Category: category, Message: fmt.Sprintf(format, args...),
	})
}

func (l *Log) fillIn(e *Entry) {
	if e.Time.IsZero() {
		e.Time = l.o.Clock.Now()
	}
	if e.ProcessPath == "" {
		if from, ok := l.o.ByPID(e.PID); ok {
			e.ProcessPath, e.ProcessUUID = from.Path, from.UUID
		} else {
			e.ProcessPath = fmt.Sprintf("<pid %d>", e.PID)
		}
	}
	if e.ImagePath == "" {
		e.ImagePath = e.ProcessPath
	}
	var none [16]byte
	if e.ProcessUUID == none {
		e.ProcessUUID = identity.UUID(e.ProcessPath, l.o.Identity.Build)
	}
	if e.ImageUUID == none {
		e.ImageUUID = identity.UUID(e.ImagePath, l.o.Identity.Build)
	}
	if e.ThreadID == 0 {
		e.ThreadID = 0x300 + uint64(e.PID)
	}
	if e.MachTime == 0 {
		e.MachTime = l.o.Clock.MachTimeAt(e.Time)
	}
}

// put stores entries and delivers them to the watches. It never waits for a watch.
// The caller holds mu.
func (l *Log) put(batch []*Entry) {
	for _, e := range batch {
		if len(l.ring) < historySize {
			l.ring = append(l.ring, e)
			continue
		}
		l.ring[l.next] = e
		l.next = (l.next + 1) % historySize
	}
	for _, w := range l.watches {
		w.q.Push(w.keep, batch...)
	}
}

// History returns the last entries, oldest first. Unless Options.Rate is negative,
// they include lines from before the first use of the log.
func (l *Log) History() []*Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seedHistory()
	out := make([]*Entry, 0, len(l.ring))
	out = append(out, l.ring[l.next:]...)
	return append(out, l.ring[:l.next]...)
}

// Watch begins to watch the log. The caller must close the watch.
func (l *Log) Watch(o WatchOptions) *Watch {
	if o.Queue <= 0 {
		o.Queue = watchQueue
	}
	w := &Watch{log: l, q: queue.New[*Entry](o.Queue), opts: o}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seedHistory()
	l.watches = append(l.watches, w)
	l.adjust(false)
	return w
}

// SetRate changes Options.Rate of a phone that runs.
func (l *Log) SetRate(linesPerSecond float64) {
	l.mu.Lock()
	l.rate = normalRate(linesPerSecond)
	old := l.adjust(true)
	l.mu.Unlock()
	old.wait()
}

// Watch receives the entries of the log that its options choose. Its queue is
// bounded.
type Watch struct {
	log  *Log
	q    *queue.Queue[*Entry]
	opts WatchOptions
}

func (w *Watch) keep(e *Entry) bool {
	return (w.opts.PID < 0 || w.opts.PID == e.PID) &&
		(e.Level != LevelInfo || w.opts.Info) && (e.Level != LevelDebug || w.opts.Debug)
}

// Next waits for the next entry. After Close it fails with net.ErrClosed.
func (w *Watch) Next(ctx context.Context) (*Entry, error) {
	var one [1]*Entry
	if _, err := w.NextBatch(ctx, one[:]); err != nil {
		return nil, err
	}
	return one[0], nil
}

// NextBatch waits for at least one entry, copies the entries that are there into
// buf, and returns their number.
func (w *Watch) NextBatch(ctx context.Context, buf []*Entry) (int, error) {
	n, err := w.q.Pop(ctx, buf)
	if err != nil {
		return 0, &failure.Error{Op: "next log entry", Err: err}
	}
	return n, nil
}

// Dropped returns the number of entries that were lost because the reader was
// slow.
func (w *Watch) Dropped() uint64 { return w.q.Lost() }

// Close ends the watch and every Next that waits. When the last watch is closed,
// the daemons stop logging by themselves; Close waits for that.
func (w *Watch) Close() {
	if w.q.Close() {
		w.log.remove(w)
	}
}
