package yaml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// nodeSize is the approximate memory that the library needs for one value of a text.
const nodeSize = 224

// parse reads the documents of a text, at most the number most unless that is 0. It gives up the
// interpreter lock. where is put before the text of an error.
func parse(c *api.Call, text []byte, where string, most int) ([]*yaml.Node, error) {
	if len(text) > maxText {
		return nil, host.Errorf("too_large", "%s: a text of %d bytes, the limit is %d bytes",
			where, len(text), maxText)
	}
	host.Reserve(c.L, nodeSize*separators(text))
	var documents []*yaml.Node
	err := c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) (err error) {
		documents, err = readDocuments(ctx, text, most)
		return err
	})
	if err != nil {
		return nil, host.Errorf("decode", "%s: %s", where, problem(err, text))
	}
	return documents, nil
}

// separators counts the bytes that can begin or end a value.
func separators(text []byte) int {
	n := 0
	for _, b := range text {
		switch b {
		case '\n', '\r', ',', ':', '-', '[', '{', '?':
			n++
		}
	}
	return n
}

// reader reads until its context ends. The library reads a few hundred bytes at a time.
type reader struct {
	ctx  context.Context
	text *bytes.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.text.Read(b)
}

// readDocuments parses the text. The library panics on some texts that it should refuse.
func readDocuments(ctx context.Context, text []byte, most int) (out []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the text cannot be read (%v)", r)
		}
	}()
	d := yaml.NewDecoder(&reader{ctx, bytes.NewReader(text)})
	for most == 0 || len(out) < most {
		n := new(yaml.Node)
		err := d.Decode(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)

// problem returns the text of an error of the library. It adds the line, which the library leaves
// out if it is the first one, for anchors, and for characters that YAML does not allow.
func problem(err error, text []byte) string {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(s, "line ") {
		return s
	}
	var before []byte
	if m := unknownAnchor.FindStringSubmatch(s); m != nil {
		before, _, _ = bytes.Cut(text, []byte("*"+m[1]))
	}
	if strings.Contains(s, "UTF-8") || strings.Contains(s, "control characters") {
		before = printable(text)
	}
	return fmt.Sprintf("line %d: %s", 1+bytes.Count(before, []byte("\n")), s)
}

// printable returns the part of a text before the first character that YAML does not allow.
func printable(text []byte) []byte {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		control := unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' && r != '\u0085'
		if control || r == utf8.RuneError && size == 1 {
			return text[:i]
		}
		i += size
	}
	return text
}
