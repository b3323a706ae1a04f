package host

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/host/visible"
)

// redrawTime is the shortest time between two drawings of the lines of progress,
// unless something else is written.
const redrawTime = 50 * time.Millisecond

// Erased is the end of the control sequence that removes lines of progress from a
// terminal. After it the cursor is at the beginning of an empty line.
const Erased = "\x1b[J"

const (
	wrapOff = "\x1b[?7l"
	wrapOn  = "\x1b[?7h"
)

// progress is the part of an output that keeps lines of progress below everything
// else on a terminal. The lines are removed before other text is written and drawn
// again after it. mu of the output guards it.
type progress struct {
	lines  []*Line
	last   *Stream // the stream on which the lines are drawn
	drawn  int     // number of lines that the terminal shows
	stale  bool    // the terminal does not show the current texts of lines
	broken bool    // the cursor is in an unfinished line, where no line can be drawn
	hidden bool    // no lines are drawn, because the REPL shows its prompt
	asking bool    // a question was written and is not answered yet
	timer  *time.Timer
	at     time.Time // of the last drawing
}

// Line is a line of progress on a terminal. It stands below what the script prints.
// Its methods may be called from any goroutine.
type Line struct {
	s    *Stream
	text string
}

// Line adds a line of progress. The stream must be a terminal that can move its
// cursor.
func (s *Stream) Line() *Line {
	l := &Line{s: s}
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.lines = append(s.out.lines, l)
	s.out.last = s
	return l
}

// Set changes the text of the line, which is drawn soon afterwards. Text beyond the
// width of the terminal is cut off.
func (l *Line) Set(text string) {
	o := l.s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	text = visible.Label(text)
	if text == l.text || !slices.Contains(o.lines, l) {
		return
	}
	l.text, o.stale = text, true
	if o.busy || o.timer != nil {
		return
	}
	o.timer = time.AfterFunc(redrawTime-min(time.Since(o.at), redrawTime), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.timer = nil
		o.start()
	})
}

// Close removes the line. final, which may be empty, is written in its place as
// ordinary output. A second call does nothing.
func (l *Line) Close(final string) {
	final = l.s.shown(final)
	o := l.s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	at := slices.Index(o.lines, l)
	if at < 0 {
		return
	}
	o.lines = slices.Delete(o.lines, at, at+1)
	o.stale = true
	o.redraw(l.s, final)
}

// redraw queues text and a drawing of the lines. A drawing without text counts as
// one byte, so that flush waits for it. mu is held.
func (o *output) redraw(s *Stream, text string) {
	if s.err == nil {
		o.add(piece{to: s, text: text, size: max(len(text), 1)})
	}
}

// decorate adds control sequences to a batch. They remove the lines of progress
// before the text and draw them after it. mu is held.
func (o *output) decorate(b batch) batch {
	if len(o.lines) == 0 && o.drawn == 0 && !o.stale {
		o.mark(b.text)
		return b
	}
	before := ""
	if o.drawn > 0 {
		before = "\r"
		if o.drawn > 1 {
			before += fmt.Sprintf("\x1b[%dA", o.drawn-1)
		}
		before += Erased
		o.drawn = 0
	}
	o.mark(b.text)
	o.stale = len(o.queue) > 0 && len(o.lines) > 0
	b.text = before + b.text
	if o.stale || o.broken || o.hidden || o.asking || len(o.lines) == 0 {
		return b
	}
	texts := make([]string, len(o.lines))
	for i, l := range o.lines {
		texts[i] = l.text
	}
	b.text += wrapOff + strings.Join(texts, "\n") + wrapOn
	o.drawn, o.at = len(texts), time.Now()
	return b
}

// mark records whether text leaves the cursor in an unfinished line. mu is held.
func (o *output) mark(text string) {
	if text != "" {
		o.broken = text[len(text)-1] != '\n'
	}
}

// showProgress shows or hides the lines of progress.
func (h *Host) showProgress(show bool) {
	for _, s := range []*Stream{h.stdout, h.stderr} {
		o := s.out
		o.mu.Lock()
		if o.hidden == show && len(o.lines) > 0 {
			o.stale = true
			o.redraw(s, "")
		}
		o.hidden = !show
		o.mu.Unlock()
	}
}

// Ask writes a question and waits until it is written. Later output is held back
// until answered is called. entered tells whether the user has pressed Enter, which
// ends the line on the terminal. Further calls of answered do nothing. Only one
// question may be open at a time, and the interpreter lock must not be held.
func (s *Stream) Ask(ctx context.Context, question string) (
	answered func(entered bool), err error,
) {
	question = s.shown(question)
	o := s.out
	o.mu.Lock()
	if s.err == nil {
		o.add(piece{to: s, text: question, size: max(len(question), 1), asks: true})
	}
	end := o.done + uint64(o.size)
	o.mu.Unlock()
	answered = func(entered bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if end > 0 {
			o.answer(s, entered)
		}
		end = 0
	}
	at := end
	err = o.waitUntil(ctx, func(_ int, done uint64) bool { return done >= at })
	if err == nil {
		err = s.failed()
	}
	if err != nil {
		answered(false)
		return nil, err
	}
	return answered, nil
}

// answer ends a question. mu is held.
func (o *output) answer(s *Stream, entered bool) {
	at := slices.IndexFunc(o.queue, func(p piece) bool { return p.asks })
	switch {
	case at >= 0: // the question was not written yet
		p := o.queue[at]
		o.queue = slices.Delete(o.queue, at, at+1)
		o.size -= p.size
		o.done += uint64(p.size)
		o.wake()
		return
	case entered:
		o.broken = false
	case s.err == nil:
		o.queue = slices.Insert(o.queue, 0, piece{to: s, text: "\n", size: 1})
		o.size++
	}
	o.asking = false
	o.stale = o.stale || len(o.lines) > 0
	if len(o.queue) > 0 || o.stale {
		o.start()
	}
}
