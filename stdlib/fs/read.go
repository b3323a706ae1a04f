package fs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// contents returns the functions that read a file.
func contents() []*api.Func {
	return []*api.Func{
		api.Function("read", "Reads a whole file.",
			"path opts?", read,
			PathParam("path", "the file", host.AccessRead),
			api.Raises("not_found", "too_large"),
			api.Returns("string content"),
			api.Example(`local f = path.join(fs.temp_dir(), "a")
fs.write(f, "hello")
return fs.read(f) -- => "hello"`)),
		api.Function("lines", "Reads a file line by line: for line in fs.lines(path) do. Line "+
			"ends are removed.",
			"path", openLines,
			PathParam("path", "the file", host.AccessRead),
			api.Raises("not_found", "too_large"),
			api.Example(`local f = path.join(fs.temp_dir(), "a")
fs.write(f, "one\r\ntwo")
local t = {}
for line in fs.lines(f) do table.insert(t, line) end
return t -- => {"one", "two"}`)),
	}
}

type readOptions struct {
	MaxSize *int64 `lua:"max_size" doc:"largest size in bytes" default:"the limit of --max-string"`
}

func read(c *api.Call, path string, o readOptions) (string, error) {
	limit := Limit(c)
	lower := o.MaxSize != nil && *o.MaxSize < limit
	if lower {
		limit = *o.MaxSize
	}
	if limit < 0 {
		return "", c.ArgError(2, "option \"max_size\": must not be negative")
	}
	b, err := readFile(c, "fs", path, limit)
	var e *host.Error
	if lower && errors.As(err, &e) && e.Code == "too_large" {
		e.Hint = "raise the limit with the option max_size"
	}
	if err != nil {
		return "", err
	}
	host.Reserve(c.L, len(b))
	return string(b), nil
}

// lineBuffer is the size of the buffer into which Lines reads.
const lineBuffer = 64 << 10

// Lines reads a file line by line, for one task at a time.
type Lines struct {
	api.Turn
	path  string
	file  *os.File
	r     *bufio.Reader
	limit int64  // bytes of one line
	begun []byte // the start of a line whose end has not been read yet
	err   error  // set when a line was too long: the bytes that follow are not a whole line
	count int
}

// Close closes the file.
func (l *Lines) Close() error { return l.file.Close() }

// Size returns the bytes of the buffer.
func (l *Lines) Size(func(lua.LValue)) int { return lineBuffer }

func linesClass() *api.Class {
	c := api.NewClass[*Lines]("Lines", "Reads a file line by line: `for line in lines do ... end`.")
	c.Closer, c.NextType = true, "string"
	c.String = func(l *Lines) string { return "Lines<" + l.path + ">" }
	c.Next = nextLine
	c.Fields = []*api.Field{
		api.Property("number", "number of the line that was read last",
			func(l *Lines) int { return l.count }),
	}
	return c
}

func openLines(c *api.Call, path string) (api.Opened[*Lines], error) {
	limit := Limit(c)
	c.Timeout(api.NoTimeout)
	opened, err := api.Open(c, func(ctx context.Context) (*Lines, error) {
		f, err := localfile.Open(ctx, path, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		return &Lines{
			path:  path,
			file:  f,
			r:     bufio.NewReaderSize(f, lineBuffer),
			limit: limit,
		}, nil
	})
	return opened, Failed("fs", err)
}

// nextLine returns the next line. It gives up the interpreter lock only if the buffer does not hold
// a whole line.
func nextLine(c *api.Call, l *Lines) (lua.LValue, error) {
	var line []byte
	var err error
	if buf, _ := l.r.Peek(l.r.Buffered()); bytes.IndexByte(buf, '\n') >= 0 {
		line, err = l.next(context.Background())
	} else {
		err = do(c, func(ctx context.Context) error {
			return localfile.Do(ctx, l.file, func() (err error) {
				line, err = l.next(ctx)
				return err
			})
		})
	}
	switch {
	case errors.Is(err, io.EOF):
		return lua.LNil, nil
	case err != nil:
		return nil, err
	}
	host.Reserve(c.L, len(line))
	l.count++
	return lua.LString(line), nil
}

// next returns the next line without its end, and io.EOF after the last one. The bytes are valid
// until the next call. If an error stops next in the middle of a line, the next call continues that
// line.
func (l *Lines) next(ctx context.Context) ([]byte, error) {
	for l.err == nil {
		part, err := l.r.ReadSlice('\n')
		line := part
		if len(l.begun) > 0 || err != nil {
			l.begun = append(l.begun, part...)
			line = l.begun
		}
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		switch {
		case int64(len(text)) > l.limit:
			e := host.Errorf("too_large", "fs: %s:%d: line longer than the limit of %d bytes",
				l.path, l.count+1, l.limit)
			l.err = e.WithHint("raise the limit with --max-string")
			l.begun = nil
		case err == nil, err == io.EOF && len(line) > 0:
			l.begun = nil
			return text, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
	return nil, l.err
}
