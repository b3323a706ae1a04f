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
	HistoryFile string      // "" means that the history is not stored
	Warn        func(error) // called once if the history cannot be stored; may be nil

	// Raw mode and width of the terminal, for tests without a terminal.
	makeRaw, exitRaw func() error
	width            func() int
}

// readlineEditor adds to chzyer/readline what it lacks: pasting of several lines,
// inputs of several lines, a private history file, and a Close that ends a waiting
// ReadLine.
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
		// On Windows, readline translates console events to keys and colours to
		// console calls. Consoles do not support bracketed paste.
		o.Stdin, e.stdout, e.paste = readline.Stdin, readline.Stdout, false
	}
	h, err := loadHistory(o.HistoryFile)
	e.history = h
	e.warnOnce(err)
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
	e.rl, err = readline.NewEx(cfg)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// warnOnce calls warn for the first error of the history.
func (e *readlineEditor) warnOnce(err error) {
	if err != nil && !e.warned && e.warn != nil {
		e.warned = true
		e.warn(err)
	}
}

// recall gives readline the whole history again. Without it readline would begin at
// the entry that was used last, and would store changes of older entries.
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
		// The terminal was closed before the user pressed Enter.
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
	e.warnOnce(e.history.add(entry))
}

func (e *readlineEditor) Output() io.Writer { return e.rl.Stdout() }

// Close ends a waiting ReadLine before it closes readline, because readline hangs if
// it is closed while it reads.
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

// tabs is the completer of readline. It prints lists of candidates itself, because
// readline would show only the rest of each word.
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
