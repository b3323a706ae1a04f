package phone

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// LogLevel is the level of a log entry, with the numbers of os_log.
type LogLevel uint8

// The levels.
const (
	// LevelDefault is what the text log calls Notice.
	LevelDefault LogLevel = 0x00
	// LevelInfo is delivered only to those who ask.
	LevelInfo LogLevel = 0x01
	// LevelDebug is delivered only to those who ask.
	LevelDebug LogLevel = 0x02
	// LevelError is an error of the process that logs.
	LevelError LogLevel = 0x10
	// LevelFault is an error of the system.
	LevelFault LogLevel = 0x11
)

// String is the word that the text log uses.
func (l LogLevel) String() string {
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

// LogEntry is one message of the unified log. Entries are shared by all who
// watch: they must not be changed.
type LogEntry struct {
	Time                   time.Time
	PID                    int
	ProcessPath, ImagePath string // of the executable, of the library that logs
	ProcessUUID, ImageUUID [16]byte
	ThreadID, ActivityID   uint64
	ImageOffset            uint32
	Level                  LogLevel
	Subsystem, Category    string // both or none
	Message                string
	MachTime               uint64 // ticks of 24 MHz since boot
}

// Bounds of the log.
const (
	historySize     = 1024 // entries that LogHistory remembers
	watchQueue      = 4096 // default of LogWatchOptions.Queue
	defaultLogRate  = 20
	maxLogRate      = 100_000
	machTicksPerSec = 24_000_000
)

// LogWatchOptions choose what a watch receives. Default, Error and Fault
// always arrive.
type LogWatchOptions struct {
	// PID is the process, -1 for all. 0 is the kernel.
	PID int
	// Info and Debug add these levels.
	Info, Debug bool
	// Queue is how many entries wait for a slow reader before the oldest
	// are dropped; 0 means 4096.
	Queue int
}

// logHub takes entries and hands them to the watches.
type logHub struct {
	phone *Phone

	mu      sync.Mutex
	ring    []*LogEntry // the last historySize entries, oldest at next once full
	next    int
	watches []*LogWatch
	rate    float64
	seeded  bool // the backlog of before the first look was made
	gen     generator
}

// start sets the hub up.
func (h *logHub) start(p *Phone, rate float64) {
	h.phone = p
	h.rate = normalRate(rate)
	h.gen.seed = p.id.seed
	h.gen.images = sync.OnceValue(func() [][16]byte { return imageUUIDs(p.prof.build) })
}

func normalRate(rate float64) float64 {
	switch {
	case rate == 0:
		return defaultLogRate
	case rate > 0:
		return min(rate, maxLogRate)
	}
	return 0
}

// Log writes an entry. Zero fields are filled in: the time, the paths and
// UUIDs from the process table, the thread, the mach time.
func (p *Phone) Log(e LogEntry) {
	p.fillEntry(&e)
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.put([]*LogEntry{&e})
}

// logf logs a line of a daemon, found by its name.
func (p *Phone) logf(process, subsystem, category, format string, args ...any) {
	proc, _ := p.ProcessNamed(process)
	e := LogEntry{
		PID: proc.PID, Subsystem: subsystem, Category: category,
		Message: fmt.Sprintf(format, args...),
	}
	p.Log(e)
}

func (p *Phone) fillEntry(e *LogEntry) {
	now := e.Time
	if now.IsZero() {
		now = p.Now()
		e.Time = now
	}
	if e.ProcessPath == "" {
		if proc, ok := p.Process(e.PID); ok {
			e.ProcessPath, e.ProcessUUID = proc.Path, proc.UUID
		} else {
			e.ProcessPath = fmt.Sprintf("<pid %d>", e.PID)
		}
	}
	if e.ImagePath == "" {
		e.ImagePath = e.ProcessPath
	}
	var none [16]byte
	if e.ProcessUUID == none {
		e.ProcessUUID = uuidOf(e.ProcessPath, p.prof.build)
	}
	if e.ImageUUID == none {
		e.ImageUUID = uuidOf(e.ImagePath, p.prof.build)
	}
	if e.ThreadID == 0 {
		e.ThreadID = 0x300 + uint64(e.PID)
	}
	if e.MachTime == 0 {
		e.MachTime = p.machTime(now)
	}
}

func (p *Phone) machTime(now time.Time) uint64 {
	p.mu.RLock()
	up := now.Sub(p.booted)
	p.mu.RUnlock()
	return uint64(max(up, 0).Seconds() * machTicksPerSec)
}

// put stores and hands on; the caller holds mu. It never waits for a watch.
func (h *logHub) put(batch []*LogEntry) {
	for _, e := range batch {
		if len(h.ring) < historySize {
			h.ring = append(h.ring, e)
			continue
		}
		h.ring[h.next] = e
		h.next = (h.next + 1) % historySize
	}
	for _, w := range h.watches {
		w.q.push(w.keep, batch...)
	}
}

// LogHistory returns the last entries, oldest first. A phone that talks has
// a past before the first look at its log.
func (p *Phone) LogHistory() []*LogEntry {
	h := &p.log
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seedHistory()
	out := make([]*LogEntry, 0, len(h.ring))
	out = append(out, h.ring[h.next:]...)
	return append(out, h.ring[:h.next]...)
}

// WatchLog begins to watch the log. Close the watch.
func (p *Phone) WatchLog(o LogWatchOptions) *LogWatch {
	if o.Queue <= 0 {
		o.Queue = watchQueue
	}
	w := &LogWatch{hub: &p.log, q: newQueue[*LogEntry](o.Queue), opts: o}
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.seedHistory()
	p.log.watches = append(p.log.watches, w)
	p.log.adjust(false)
	return w
}

// SetLogRate changes Options.LogRate while the phone lives.
func (p *Phone) SetLogRate(linesPerSecond float64) {
	p.log.mu.Lock()
	p.log.rate = normalRate(linesPerSecond)
	old := p.log.adjust(true)
	p.log.mu.Unlock()
	old.wait()
}

// LogWatch is a bounded view of the log.
type LogWatch struct {
	hub  *logHub
	q    *queue[*LogEntry]
	opts LogWatchOptions
}

func (w *LogWatch) keep(e *LogEntry) bool {
	return (w.opts.PID < 0 || w.opts.PID == e.PID) &&
		(e.Level != LevelInfo || w.opts.Info) && (e.Level != LevelDebug || w.opts.Debug)
}

// Next waits for the next entry. After Close it fails with net.ErrClosed.
func (w *LogWatch) Next(ctx context.Context) (*LogEntry, error) {
	var one [1]*LogEntry
	if _, err := w.NextBatch(ctx, one[:]); err != nil {
		return nil, err
	}
	return one[0], nil
}

// NextBatch waits for at least one entry and moves as many as there are into
// buf.
func (w *LogWatch) NextBatch(ctx context.Context, buf []*LogEntry) (int, error) {
	n, err := w.q.pop(ctx, buf)
	if err != nil {
		return 0, &Error{Op: "next log entry", Err: err}
	}
	return n, nil
}

// Dropped counts the entries lost because the reader was slow.
func (w *LogWatch) Dropped() uint64 { return w.q.lost() }

// Close ends the watch and every Next that waits. The last one to close
// stops the phone's talking and waits until it has stopped.
func (w *LogWatch) Close() {
	if w.q.close() {
		w.hub.remove(w)
	}
}
