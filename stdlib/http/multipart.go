package http

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// partOptions describes a part of a form that is not plain text.
type partOptions struct {
	Path    string  `lua:"path" doc:"file that is sent" kind:"path" access:"read"`
	Content *[]byte `lua:"content" doc:"string or Data that is sent"`
	Name    string  `lua:"name" doc:"file name that is sent to the server"`
	Type    string  `lua:"type" doc:"media type" default:"application/octet-stream"`
}

// files holds the open files of a body that consists of bytes and files.
type files struct {
	io.Reader
	open []*os.File
	size int64
}

// Close closes the files.
func (f *files) Close() error {
	var errs []error
	for _, file := range f.open {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// add opens a file and returns a reader of it.
func (f *files) add(ctx context.Context, path string) (io.Reader, error) {
	file, err := localfile.Open(ctx, path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	f.open = append(f.open, file)
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, host.Errorf("argument", "http: %s is not a plain file", path)
	}
	f.size += info.Size()
	return io.LimitReader(file, info.Size()), nil // the file may grow while it is read
}

func filePayload(path string) payload {
	return func(ctx context.Context) (io.ReadCloser, int64, error) {
		f := &files{}
		r, err := f.add(ctx, path)
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		f.Reader = r
		return f, f.size, nil
	}
}

// part is a piece of a multipart body: bytes, or a file when path is set.
type part struct {
	b    []byte
	path string
}

// multipartOf returns a form with files.
func multipartOf(c *api.Call, fields map[string]lua.LValue) (payload, string, error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	var parts []part
	flush := func() {
		parts = append(parts, part{b: bytes.Clone(buf.Bytes())})
		buf.Reset()
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if t, ok := fields[name].(*lua.LTable); ok && t.Len() == 0 {
			o, err := readPart(c, name, t)
			if err != nil {
				return nil, "", err
			}
			if _, err := w.CreatePart(o.header(name)); err != nil {
				return nil, "", err
			}
			if o.Content != nil {
				buf.Write(*o.Content)
				continue
			}
			flush()
			parts = append(parts, part{path: o.Path})
			continue
		}
		list, err := texts(c, "multipart", name, fields[name])
		if err != nil {
			return nil, "", err
		}
		for _, text := range list {
			if err := w.WriteField(name, text); err != nil {
				return nil, "", err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	flush()
	return partsPayload(parts), w.Boundary(), nil
}

func readPart(c *api.Call, name string, t *lua.LTable) (o partOptions, err error) {
	if err := c.Index().Options(c.L, t, &o); err != nil {
		var refused *host.Error
		if errors.As(err, &refused) {
			return o, err
		}
		return o, host.Errorf("argument", "http: option \"multipart\": %q: %v", name, err)
	}
	if (o.Path == "") == (o.Content == nil) {
		return o, host.Errorf("argument", "http: option \"multipart\": %q needs path or content",
			name)
	}
	if o.Name == "" && o.Path != "" {
		o.Name = filepath.Base(o.Path)
	}
	if strings.ContainsAny(o.Type, "\r\n") {
		return o, host.Errorf("argument", "http: option \"multipart\": %q has a wrong type", name)
	}
	return o, nil
}

// header returns the header of the part.
func (o partOptions) header(name string) textproto.MIMEHeader {
	h := textproto.MIMEHeader{}
	text := multipart.FileContentDisposition(name, o.Name)
	h.Set("Content-Disposition", text)
	h.Set("Content-Type", o.Type)
	return h
}

func partsPayload(parts []part) payload {
	return func(ctx context.Context) (io.ReadCloser, int64, error) {
		f := &files{}
		var readers []io.Reader
		for _, p := range parts {
			if p.path == "" {
				f.size += int64(len(p.b))
				readers = append(readers, bytes.NewReader(p.b))
				continue
			}
			r, err := f.add(ctx, p.path)
			if err != nil {
				return nil, 0, errors.Join(err, f.Close())
			}
			readers = append(readers, r)
		}
		f.Reader = io.MultiReader(readers...)
		return f, f.size, nil
	}
}
