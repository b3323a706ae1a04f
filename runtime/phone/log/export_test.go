package log

const (
	Backlog     = backlog
	HistorySize = historySize
	Tick        = tick
)

// LargestBurst is the number of lines that are held back at most, at a rate.
var LargestBurst = largestBurst

// NormalRate returns the rate in lines a second for a value of Options.Rate.
var NormalRate = normalRate

// Made counts the lines that were generated.
func (l *Log) Made() uint64 { return l.gen.count.Load() }

// Lines generates lines.
var Lines = (*Log).lines

// WriteAll passes entries to the watches.
func (l *Log) WriteAll(batch []*Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(batch)
}

// Daemons lists the processes named in generated lines.
func Daemons() []string {
	out := make([]string, len(templates))
	for i, t := range templates {
		out[i] = t.process
	}
	return out
}
