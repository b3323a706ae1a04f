package exec

import (
	"context"
	"os"
	"sync"
)

// input writes to the standard input of a program. The writes are made by a goroutine, because not
// every system can cancel a write that waits for the reader.
type input struct {
	file   *os.File
	chunks chan chunk
	ended  chan struct{}
	once   sync.Once
}

type chunk struct {
	b    []byte
	last bool // close the pipe afterwards
	done chan error
}

// newInput returns an input. Unless content is nil, it is written and the pipe is closed.
func newInput(file *os.File, content []byte) *input {
	in := &input{file: file, chunks: make(chan chunk, 1), ended: make(chan struct{})}
	if content != nil {
		in.chunks <- chunk{b: content, last: true, done: make(chan error, 1)}
	}
	return in
}

func (in *input) pump() {
	for {
		select {
		case c := <-in.chunks:
			_, err := in.file.Write(c.b)
			c.done <- err
			if err != nil || c.last {
				in.end()
			}
		case <-in.ended:
			return
		}
	}
}

// write returns when b is in the pipe. If ctx ends first, b may be written later.
func (in *input) write(ctx context.Context, b []byte) error {
	c := chunk{b: b, done: make(chan error, 1)}
	if in.closed() {
		return os.ErrClosed
	}
	select {
	case in.chunks <- c:
	case <-in.ended:
		return os.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-in.ended:
		return os.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (in *input) closed() bool {
	select {
	case <-in.ended:
		return true
	default:
		return false
	}
}

// end closes the pipe.
func (in *input) end() {
	in.once.Do(func() {
		close(in.ended)
		go in.file.Close() // on Windows, Close waits for the write of the pump
	})
}
