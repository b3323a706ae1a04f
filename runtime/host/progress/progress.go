// Package progress shows progress bars and spinners on the terminal of a script. If the standard
// error is not a terminal, it writes only the final line.
package progress

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

const (
	// tick is the time between two updates of a line.
	tick = 100 * time.Millisecond
	// window is the time over which the rate is averaged.
	window = 10 * time.Second
	// sampleTime is the shortest time between two samples for the rate.
	sampleTime = window / 50
	// minBar and maxBar limit the width of the bar in columns, with its brackets.
	minBar = 8
	maxBar = 24
)

// Options configures a Bar.
type Options struct {
	Label string
	Total float64 // 0 if it is not known
	Bytes bool    // amounts are bytes
	// Spinner shows a spinner and the elapsed time instead of a bar.
	Spinner bool
}

// Bar is a line that shows the progress of an operation. Its methods may be called from any
// goroutine.
type Bar struct {
	out   *host.Stream
	width func() int
	line  *host.Line // nil if there is no terminal
	start time.Time
	stop  chan struct{}
	done  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	o       Options
	value   float64
	samples []sample // in the window, oldest first
	frame   int
	over    bool
}

type sample struct {
	at    time.Time
	value float64
}

// New shows a bar on the standard error of h. The caller must close it.
func New(h *host.Host, o Options) *Bar {
	b := &Bar{
		out: h.Stderr(), width: h.Options().Terminal.Columns, start: time.Now(), o: o,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	b.samples = []sample{{b.start, 0}}
	t := h.Options().Terminal
	if !t.Stderr || t.Dumb {
		close(b.done)
		return b
	}
	b.line = h.Stderr().Line()
	b.line.Set(b.text())
	go b.run()
	return b
}

// run keeps the line up to date.
func (b *Bar) run() {
	defer close(b.done)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-t.C:
		}
		b.mu.Lock()
		b.frame++
		b.line.Set(b.text())
		b.mu.Unlock()
	}
}

// Update sets the value and the label. A nil value or label is not changed. The line changes at the
// next tick only, so that frequent calls are cheap.
func (b *Bar) Update(value *float64, label *string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if value != nil {
		b.set(*value)
	}
	if label != nil {
		b.o.Label = *label
	}
}

// Add adds n to the value.
func (b *Bar) Add(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(b.value + n)
}

// SetTotal sets the total.
func (b *Bar) SetTotal(total float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.o.Total = total
}

// set sets the value and adds a sample for the rate. mu is held.
func (b *Bar) set(value float64) {
	b.value = value
	now := time.Now()
	if n := len(b.samples); n > 0 && now.Sub(b.samples[n-1].at) < sampleTime {
		return
	}
	b.samples = append(b.samples, sample{now, value})
	old := 0
	for old < len(b.samples)-2 && now.Sub(b.samples[old].at) > window {
		old++
	}
	b.samples = b.samples[old:]
}

// Label returns the label.
func (b *Bar) Label() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.o.Label
}

// Value returns the value, which is the amount that is done.
func (b *Bar) Value() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.value
}

// Total returns the total amount, or 0 if it is not known.
func (b *Bar) Total() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.o.Total
}

// Elapsed returns the time since the beginning.
func (b *Bar) Elapsed() time.Duration { return time.Since(b.start) }

// Finish replaces the bar by a final line with the amount and the elapsed time. The line begins
// with text, or with the label if text is empty. Without a terminal it is the only line that is
// written.
func (b *Bar) Finish(text string) {
	b.mu.Lock()
	if text == "" {
		text = b.o.Label
	}
	line := b.summary(text)
	b.mu.Unlock()
	b.end(line)
}

// Close removes the bar.
func (b *Bar) Close() error {
	b.end("")
	return nil
}

func (b *Bar) end(line string) {
	b.mu.Lock()
	over := b.over
	b.over = true
	b.mu.Unlock()
	if over {
		return
	}
	close(b.stop)
	<-b.done
	switch {
	case b.line != nil:
		b.line.Close(line)
	case line != "":
		fmt.Fprint(b.out.Styled(), line)
	}
}

// text returns the current line. mu is held, or no other goroutine has the bar yet.
func (b *Bar) text() string {
	if b.o.Spinner {
		const frames = `|/-\`
		return fmt.Sprintf("%c %s %s", frames[b.frame%len(frames)], visible.Label(b.o.Label),
			seconds(b.Elapsed()))
	}
	right, label := b.numbers(), visible.Label(b.o.Label)
	if b.o.Total > 0 {
		room := b.width() - runewidth.StringWidth(label+right) - len("  100% ")
		right = b.bar(min(max(room, minBar), maxBar)) + " " + right
	}
	room := b.width() - runewidth.StringWidth(right) - 1
	if label == "" || room < 4 {
		return right
	}
	return runewidth.Truncate(label, room, "~") + " " + right
}

// bar returns a text such as "[=====>    ]  45%". columns is the width with the brackets.
func (b *Bar) bar(columns int) string {
	part := min(max(b.value/b.o.Total, 0), 1)
	inner := columns - len("[]")
	n := int(part * float64(inner))
	fill := strings.Repeat("=", n)
	if n < inner {
		fill += ">"
	}
	return fmt.Sprintf("[%-*s] %3d%%", inner, fill, int(part*100))
}

// numbers returns a text such as "12.3 MiB/27.1 MiB 3.2 MiB/s ETA 0:04".
func (b *Bar) numbers() string {
	text := b.amount(b.value)
	if b.o.Total > 0 {
		text += "/" + b.amount(b.o.Total)
	}
	rate := b.rate()
	if rate > 0 {
		text += " " + b.amount(rate) + "/s"
	}
	if b.o.Total > 0 && rate > 0 && b.value < b.o.Total {
		return text + " ETA " + Clock((b.o.Total-b.value)/rate)
	}
	return text + " " + Clock(b.Elapsed().Seconds())
}

// rate returns the average amount per second. mu is held.
func (b *Bar) rate() float64 {
	first := b.samples[0]
	d := time.Since(first.at).Seconds()
	if d < tick.Seconds() {
		return 0
	}
	return (b.value - first.value) / d
}

// summary returns the final line.
func (b *Bar) summary(text string) string {
	took := b.Elapsed()
	text = visible.Label(text)
	if b.o.Spinner {
		return fmt.Sprintf("%s (%s)\n", text, seconds(took))
	}
	if text != "" {
		text += " "
	}
	text += b.amount(b.value)
	if b.o.Total > 0 && b.value != b.o.Total {
		text += "/" + b.amount(b.o.Total)
	}
	text += " in " + seconds(took)
	if s := took.Seconds(); s >= tick.Seconds() {
		text += " (" + b.amount(b.value/s) + "/s)"
	}
	return text + "\n"
}

func (b *Bar) amount(v float64) string {
	if b.o.Bytes {
		return Bytes(v)
	}
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// Bytes formats a number of bytes: "512 B", "1.5 KiB".
func Bytes(v float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	at := 0
	for math.Abs(v) >= 1023.95 && at < len(units)-1 {
		v /= 1024
		at++
	}
	if at == 0 {
		return fmt.Sprintf("%.0f B", v)
	}
	return fmt.Sprintf("%.1f %s", v, units[at])
}

// Clock formats seconds as "0:04" or "1:02:03".
func Clock(seconds float64) string {
	if !(seconds < 360000) {
		return "long"
	}
	s := int(math.Round(max(seconds, 0)))
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// seconds formats how long something took: "3.2s", "2:05".
func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return Clock(d.Seconds())
}
