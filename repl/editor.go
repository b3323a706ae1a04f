package repl

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
)

// ErrInterrupt is the error of ReadLine for Ctrl-C.
var ErrInterrupt = errors.New("repl: interrupted")

// LineEditor reads what the user types. Its texts may contain newlines if a block was
// pasted or recalled from the history.
type LineEditor interface {
	// ReadLine reads one line or block. The error is io.EOF at the end of the
	// input. For Ctrl-C it is ErrInterrupt, and the text is what was typed so far.
	ReadLine(prompt string) (string, error)
	// SetCompleter sets the function that is called for Tab.
	SetCompleter(Completer)
	// AddHistory adds an input to the history.
	AddHistory(entry string)
	// Output returns a writer that prints whole lines above the prompt while
	// ReadLine waits.
	Output() io.Writer
	// Close restores the terminal. Any goroutine may call it, and more than once.
	// A waiting ReadLine returns io.EOF.
	Close() error
}

// Completer returns the completion of a line at the cursor, which is a byte offset.
// insert is the text to insert. If it is empty, list holds the lines of a list of
// candidates to show.
type Completer func(line string, cursor int) (insert string, list []string)

// plainEditor reads lines from a pipe or a file.
type plainEditor struct {
	in     *bufio.Reader
	out    io.Writer
	close  sync.Once
	closed chan struct{}
}

// NewPlainEditor returns a LineEditor for input that does not come from a
// terminal: no prompt, no history, no completion.
func NewPlainEditor(in io.Reader, out io.Writer) LineEditor {
	return &plainEditor{in: bufio.NewReader(in), out: out, closed: make(chan struct{})}
}

// maxLine is the largest length of one line of input.
const maxLine = 4 << 20

// ReadLine reads one line. If Close ends the wait, its goroutine stays until the read
// returns, because a read from a pipe cannot be cancelled.
func (e *plainEditor) ReadLine(string) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := e.readLine()
		read <- result{line, err}
	}()
	select {
	case r := <-read:
		return r.line, r.err
	case <-e.closed:
		return "", io.EOF
	}
}

func (e *plainEditor) readLine() (string, error) {
	var b strings.Builder
	for {
		part, err := e.in.ReadSlice('\n')
		b.Write(part)
		switch {
		case b.Len() > maxLine:
			return "", errors.New("repl: line is longer than 4 MB")
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && b.Len() > 0:
			return b.String(), nil
		case err != nil:
			return "", err
		}
		return strings.TrimRight(b.String(), "\r\n"), nil
	}
}

func (e *plainEditor) SetCompleter(Completer) {}
func (e *plainEditor) AddHistory(string)      {}
func (e *plainEditor) Output() io.Writer      { return e.out }

func (e *plainEditor) Close() error {
	e.close.Do(func() { close(e.closed) })
	return nil
}
