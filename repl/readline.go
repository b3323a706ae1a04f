package repl

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/chzyer/readline"
)

// ReadlineOptions describes the terminal of a readline editor.
type ReadlineOptions struct {
	Stdin       io.Reader
	Stdout      io.Writer
	HistoryFile string      // "" = no history beyond this run
	Warn        func(error) // told once when the history cannot be kept; nil = nobody

	// raw mode and width of the terminal; for tests that have none.
	makeRaw, exitRaw func() error
	width            func() int
}

// readlineEditor is chzyer/readline with what it lacks: pasting of several
// lines, inputs of several lines, a private history file, and an end that can
// be brought about from outside.
type readlineEditor struct {
	rl      *readline.Instance
	filter  *pasteFilter
	stdout  io.Writer
	history *history
	warn    func(error)
	warned  bool
	paste   bool

	reading   sync.Mutex // held while ReadLine waits
	once      sync.Once
	mu        sync.Mutex
	completer Completer
}

// NewReadlineEditor returns a LineEditor for a terminal.
func NewReadlineEditor(o ReadlineOptions) (LineEditor, error) {
	e := &readlineEditor{stdout: o.Stdout, warn: o.Warn, paste: true}
	if runtime.GOOS == "windows" {
		// There keys come as console events and colours go out as calls, which
		// readline translates; consoles do not frame what is pasted.
		o.Stdin, e.stdout, e.paste = readline.Stdin, readline.Stdout, false
	}
	h, err := loadHistory(o.HistoryFile)
	e.history = h
	e.complain(err)
	e.filter = newPasteFilter(o.Stdin)
	cfg := &readline.Config{
		Stdin: e.filter, Stdout: e.stdout, Stderr: e.stdout,
		HistoryLimit: historyLimit + 1, DisableAutoSaveHistory: true, HistorySearchFold: true,
		AutoComplete:        tabs{e},
		EOFPrompt:           "\n",
		FuncMakeRaw:         o.makeRaw,
		FuncExitRaw:         o.exitRaw,
		FuncGetWidth:        o.width,
		ForceUseInteractive: true,
	}
	if o.width != nil {
		cfg.FuncOnWidthChanged = func(func()) {}
	}
	if e.rl, err = readline.NewEx(cfg); err != nil {
		return nil, err
	}
	return e, nil
}

// complain tells about the first trouble with the history.
func (e *readlineEditor) complain(err error) {
	if err != nil && !e.warned && e.warn != nil {
		e.warned = true
		e.warn(err)
	}
}

// recall hands readline the whole history anew before each line: it would begin
// where the last line was found, and store the edited form of an older entry.
func (e *readlineEditor) recall() {
	e.rl.ResetHistory()
	for _, entry := range e.history.entries {
		_ = e.rl.SaveHistory(strings.ReplaceAll(entry, "\n", newlineSign))
	}
}

func (e *readlineEditor) ReadLine(prompt string) (string, error) {
	e.reading.Lock()
	defer e.reading.Unlock()
	if e.filter.ended() {
		return "", io.EOF
	}
	e.recall()
	e.rl.SetPrompt(prompt)
	if e.paste {
		io.WriteString(e.stdout, pasteOn)
		defer io.WriteString(e.stdout, PasteOff)
	}
	line, err := e.rl.Readline()
	line = strings.ReplaceAll(line, newlineSign, "\n")
	switch {
	case errors.Is(err, readline.ErrInterrupt):
		return line, ErrInterrupt
	case err != nil:
		return "", err
	case e.filter.ended():
		// The terminal went away: nobody has pressed Enter.
		return "", io.EOF
	}
	return line, nil
}

func (e *readlineEditor) SetCompleter(c Completer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.completer = c
}

func (e *readlineEditor) AddHistory(entry string) {
	e.complain(e.history.add(entry))
}

func (e *readlineEditor) Output() io.Writer { return e.rl.Stdout() }

// Close ends the waiting ReadLine first: readline hangs when it is closed
// while it reads.
func (e *readlineEditor) Close() error {
	var err error
	e.once.Do(func() {
		e.filter.Close()
		e.reading.Lock()
		defer e.reading.Unlock()
		err = e.rl.Close()
	})
	return err
}

// tabs answers readline's Tab. Several candidates are printed here, since
// readline would show no more than the rest of each word.
type tabs struct{ e *readlineEditor }

func (t tabs) Do(line []rune, pos int) ([][]rune, int) {
	t.e.mu.Lock()
	complete := t.e.completer
	t.e.mu.Unlock()
	if complete == nil {
		return nil, 0
	}
	text := func(r []rune) string { return strings.ReplaceAll(string(r), newlineSign, "\n") }
	insert, list := complete(text(line), len(text(line[:pos])))
	if insert != "" {
		return [][]rune{[]rune(strings.ReplaceAll(insert, "\n", newlineSign))}, 0
	}
	if len(list) > 0 {
		io.WriteString(t.e.Output(), strings.Join(list, "\n")+"\n")
	}
	return nil, 0
}
