package repl

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
)

// ErrInterrupt is what ReadLine returns for Ctrl-C.
var ErrInterrupt = errors.New("repl: interrupted")

// LineEditor reads what a person types. Text may hold newlines where a block
// was pasted or brought back from the history.
type LineEditor interface {
	// ReadLine reads one input. The error is io.EOF at the end and ErrInterrupt
	// for Ctrl-C, then with the text that was abandoned.
	ReadLine(prompt string) (string, error)
	// SetCompleter says who answers Tab.
	SetCompleter(Completer)
	// AddHistory remembers an input.
	AddHistory(entry string)
	// Output writes whole lines above the prompt while ReadLine waits.
	Output() io.Writer
	// Close gives the terminal back. Any goroutine may call it, also twice; a
	// ReadLine that waits returns io.EOF.
	Close() error
}

// Completer says how a line can go on at the cursor, a byte offset: with insert,
// or, when that is empty, with one of several ways that are listed for reading.
type Completer func(line string, cursor int) (insert string, list []string)

// plainEditor reads lines that nobody types: a pipe or a file.
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

// maxLine bounds one line of input.
const maxLine = 4 << 20

// ReadLine leaves a read behind when it is closed meanwhile: a pipe does not let go
// of it.
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
