package fs

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// ReadFile reads a file of at most limit bytes. Memory grows with what was really read: files in /proc
// tell no size, and others may grow.
func ReadFile(p string, limit int64) ([]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if i, err := f.Stat(); err == nil && i.Size() > limit {
		return nil, tooLarge(p, limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(p, limit)
	}
	return b, nil
}

// maxLine bounds one line: a binary file by mistake must not fill the memory.
const maxLine = 16 << 20

// Lines reads a file line by line.
type Lines struct {
	path  string
	file  *os.File
	r     *bufio.Reader
	count int
}

// Close closes the file.
func (l *Lines) Close() error { return l.file.Close() }

func linesClass() *api.Class {
	c := api.NewClass[*Lines]("Lines", "Reads a file line by line: `for line in lines do ... end`.")
	c.Closer, c.NextType = true, "string"
	c.String = func(l *Lines) string { return "Lines<" + l.path + ">" }
	c.Next = nextLine
	c.Fields = []*api.Field{api.Property("number", "number of the line that was read last", func(l *Lines) int { return l.count })}
	return c
}

func openLines(c *api.Call, p string) (l *Lines, err error) {
	err = do(c, func(context.Context) error {
		f, err := os.Open(p)
		if err == nil {
			l = &Lines{path: p, file: f, r: bufio.NewReaderSize(f, 64<<10)}
		}
		return err
	})
	return l, err
}

// nextLine gives the interpreter lock up only when the buffer has no whole line.
func nextLine(c *api.Call, l *Lines) (lua.LValue, error) {
	var line []byte
	var err error
	if buf, _ := l.r.Peek(l.r.Buffered()); bytes.IndexByte(buf, '\n') >= 0 {
		line, err = l.read()
	} else {
		err = c.Timeout(api.NoTimeout).TryBlock(func(context.Context) (err error) {
			line, err = l.read()
			return err
		})
	}
	switch {
	case err == io.EOF:
		return lua.LNil, nil
	case err != nil:
		return nil, failed(err)
	}
	l.count++
	return lua.LString(line), nil
}

// read returns a line without its end, io.EOF behind the last one.
func (l *Lines) read() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == bufio.ErrBufferFull && len(line) <= maxLine:
			continue
		case err == bufio.ErrBufferFull:
			return nil, host.Errorf("too_large", "fs: %s:%d: line longer than %d bytes", l.path, l.count+1, maxLine)
		case err == io.EOF && len(line) > 0, err == nil:
			line = bytes.TrimSuffix(line, []byte("\n"))
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		return nil, err
	}
}

// walker goes over a tree: a stack of what has still to be visited.
type walker struct {
	root string
	todo []*FileInfo
}

func walkClass() *api.Class {
	c := api.NewClass[*walker]("Walk", "Goes over a tree of files: `for file in walk do ... end`.")
	c.NextType = "FileInfo"
	c.String = func(w *walker) string { return "Walk<" + w.root + ">" }
	c.Next = func(c *api.Call, w *walker) (next *FileInfo, err error) {
		if n := len(w.todo); n > 0 && w.todo[n-1].Kind != "dir" {
			next, err = w.next(context.Background()) // no need to look at the disk
		} else {
			err = c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) (err error) {
				next, err = w.next(ctx)
				return err
			})
		}
		if err == io.EOF {
			return nil, nil
		}
		return next, failed(err)
	}
	return c
}

func walk(c *api.Call, p string) (*walker, error) {
	w := &walker{root: p}
	if err := do(c, func(context.Context) error { return w.push(p) }); err != nil {
		return nil, err
	}
	return w, nil
}

// push adds the entries of a folder, so that the first is taken next.
func (w *walker) push(p string) error {
	entries, err := readDir(p)
	if err != nil {
		return err
	}
	slices.Reverse(entries)
	w.todo = append(w.todo, entries...)
	return nil
}

func (w *walker) next(ctx context.Context) (*FileInfo, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(w.todo) == 0 {
		return nil, io.EOF
	}
	next := w.todo[len(w.todo)-1]
	w.todo = w.todo[:len(w.todo)-1]
	if next.Kind == "dir" {
		if err := w.push(next.Path); err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
			return nil, err
		}
	}
	return next, nil
}

func glob(c *api.Call, pattern string) ([]string, error) {
	g, err := api.CompileGlob(filepath.ToSlash(pattern))
	if err != nil {
		return nil, host.Errorf("pattern", "fs: %s", err)
	}
	var out []string
	err = do(c, func(ctx context.Context) error {
		root := filepath.FromSlash(g.Base())
		if root == "" {
			root = "."
		}
		w := &walker{}
		if err := w.push(root); err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		for {
			f, err := w.next(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if p := f.Path; g.Match(filepath.ToSlash(p)) {
				out = append(out, p)
			}
		}
	})
	slices.Sort(out)
	return out, err
}
