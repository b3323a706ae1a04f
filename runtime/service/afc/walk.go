package afc

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// statsInFlight is how many stats of a listing are under way at once.
const statsInFlight = 32

// WalkFunc is called by Walk for each file and directory. With an error it is
// called for what could not be listed or described; returning nil then goes on
// without it. fs.SkipDir and fs.SkipAll work as with fs.WalkDir.
type WalkFunc func(file string, info Info, err error) error

// Walk visits root and all that is below it, each directory before its entries
// and these in the order of their names. Symbolic links are not followed. A tree beyond
// MaxEntries or MaxDepth is ErrTooLarge.
func (c *Client) Walk(ctx context.Context, root string, fn WalkFunc) error {
	info, err := c.Stat(ctx, root)
	if err != nil {
		err = fn(root, info, err)
	} else {
		err = c.walk(ctx, root, info, fn, &trail{})
	}
	if err == fs.SkipDir || err == fs.SkipAll {
		return nil
	}
	return err
}

func (c *Client) walk(ctx context.Context, file string, info Info, fn WalkFunc, t *trail) error {
	if err := fn(file, info, nil); err != nil || info.Kind != Directory {
		if err == fs.SkipDir && info.Kind == Directory {
			return nil
		}
		return err
	}
	list, err := c.list(ctx, file)
	if err != nil {
		if err = fn(file, info, err); err == fs.SkipDir {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if err := t.enter("walk", file, len(list)); err != nil {
		return err
	}
	defer t.leave()
	for _, e := range list {
		switch {
		case e.err == nil:
			err = c.walk(ctx, e.path, e.info, fn, t)
		case errors.Is(e.err, NotFound):
			continue // it went between the listing and the stat
		default:
			err = fn(e.path, Info{Name: path.Base(e.path)}, e.err)
		}
		if err == fs.SkipDir {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry is one name of a listing, described.
type entry struct {
	path string
	info Info
	err  error
}

// list reads a directory and describes what is in it, with several stats under
// way at once. It fails only when the directory cannot be read, a name is
// unsafe or the connection ends.
func (c *Client) list(ctx context.Context, dir string) ([]entry, error) {
	names, err := c.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	list := make([]entry, len(names))
	calls := make([]*call, len(names))
	defer func() {
		for _, k := range calls {
			if k != nil {
				c.forget(k)
			}
		}
	}()
	sent := 0
	for i, name := range names {
		if list[i].path, err = childPath("read directory", dir, name); err != nil {
			return nil, err
		}
	}
	for i := range list {
		for ; sent < len(list) && sent < i+statsInFlight; sent++ {
			if calls[sent], err = c.startStat(ctx, list[sent].path); err != nil {
				return nil, err
			}
		}
		e := &list[i]
		e.info, e.err = c.endStat(ctx, e.path, calls[i])
		calls[i] = nil
		var f *Error
		if errors.As(e.err, &f) && f.Status == Success && !errors.Is(e.err, errKeys) {
			return nil, e.err
		}
	}
	return list, nil
}

// maxBraces bounds what the braces of one pattern may unfold to.
const maxBraces = 1024

// Glob lists the paths that match a pattern, sorted. Between slashes the
// pattern is that of path.Match (*, ?, [a-z], and a backslash before what is
// meant as it stands); besides,
//
//	**      as a whole element: any number of directories, also none
//	{a,b}   either; braces nest and may hold slashes
//
// as in "DCIM/**/*.{HEIC,MOV}". A star matches names that begin with a dot,
// too. Directories that cannot be read are passed over. A bad pattern is
// path.ErrBadPattern.
func (c *Client) Glob(ctx context.Context, pattern string) ([]string, error) {
	alternatives, err := expandBraces(pattern)
	if err != nil {
		return nil, fail("glob", pattern, err)
	}
	g := globber{c: c, found: map[string]struct{}{}, lists: map[string][]entry{}, seen: map[string]struct{}{}}
	for _, p := range alternatives {
		base, elements, err := splitPattern(p)
		if err != nil {
			return nil, fail("glob", pattern, err)
		}
		if err := g.match(ctx, base, elements); err != nil {
			return nil, err
		}
	}
	out := make([]string, 0, len(g.found))
	for p := range g.found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

// splitPattern cuts a pattern into elements and checks each.
func splitPattern(p string) (base string, elements []string, err error) {
	base = "."
	if strings.HasPrefix(p, "/") {
		base = "/"
	}
	for e := range strings.SplitSeq(p, "/") {
		switch {
		case e == "" || e == ".":
			continue
		case e == "**" && len(elements) > 0 && elements[len(elements)-1] == "**":
			continue
		}
		e = strings.ReplaceAll(e, "[!", "[^")
		if _, err := path.Match(e, ""); err != nil {
			return "", nil, err
		}
		elements = append(elements, e)
	}
	if n := len(elements); n > 0 && elements[n-1] == "**" {
		elements = append(elements, "*")
	}
	return base, elements, nil
}

// globber matches one pattern; what it read is kept for the alternatives.
type globber struct {
	c     *Client
	found map[string]struct{}
	lists map[string][]entry
	seen  map[string]struct{} // what match has done
	trail trail
}

// passed reports whether a failure is the device's refusal of one directory,
// which a glob passes over.
func passed(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status != Success
}

func (g *globber) list(ctx context.Context, dir string) ([]entry, error) {
	if l, ok := g.lists[dir]; ok {
		return l, nil
	}
	l, err := g.c.list(ctx, dir)
	if err != nil && !passed(err) {
		return nil, err
	}
	if g.trail.entries += len(l); g.trail.entries > MaxEntries {
		return nil, fail("glob", dir, &LimitError{"entries", MaxEntries})
	}
	g.lists[dir] = l
	return l, nil
}

func (g *globber) match(ctx context.Context, dir string, elements []string) error {
	key := dir + "\x00" + strings.Join(elements, "/")
	if _, ok := g.seen[key]; ok {
		return nil
	}
	g.seen[key] = struct{}{}
	if len(elements) == 0 {
		return g.literal(ctx, dir)
	}
	first, rest := elements[0], elements[1:]
	if !strings.ContainsAny(first, `*?[\`) {
		if len(rest) == 0 {
			return g.literal(ctx, path.Join(dir, first))
		}
		return g.match(ctx, path.Join(dir, first), rest)
	}
	list, err := g.list(ctx, dir)
	if err == nil {
		err = g.trail.enter("glob", dir, 0)
	}
	if err != nil {
		return err
	}
	defer g.trail.leave()
	if first == "**" {
		if err := g.match(ctx, dir, rest); err != nil {
			return err
		}
	}
	for _, e := range list {
		switch ok, _ := path.Match(first, path.Base(e.path)); {
		case first == "**" && e.info.Kind == Directory:
			err = g.match(ctx, e.path, elements)
		case first == "**" || !ok:
			continue
		case len(rest) == 0:
			g.found[e.path] = struct{}{}
		case e.info.Kind == Directory || e.info.Kind == Symlink:
			err = g.match(ctx, e.path, rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// literal is the end of a pattern without stars: the path counts if it exists.
func (g *globber) literal(ctx context.Context, file string) error {
	_, err := g.c.Stat(ctx, file)
	if err == nil {
		g.found[file] = struct{}{}
		return nil
	}
	if passed(err) {
		return nil
	}
	return err
}

// expandBraces unfolds {a,b}. A brace that is not closed is a bad pattern, one
// without a comma stands for its content.
func expandBraces(p string) ([]string, error) {
	out := []string{}
	todo := []string{p}
	for len(todo) > 0 {
		if len(out)+len(todo) > maxBraces {
			return nil, path.ErrBadPattern
		}
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		open, parts, end, err := firstBraces(s)
		if err != nil {
			return nil, err
		}
		if open < 0 {
			out = append(out, s)
			continue
		}
		for _, part := range slices.Backward(parts) {
			todo = append(todo, s[:open]+part+s[end:])
		}
	}
	return out, nil
}

// firstBraces finds the first outermost braces of s and what is between them.
func firstBraces(s string) (open int, parts []string, end int, err error) {
	open = -1
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			if depth++; depth == 1 {
				open, start = i, i+1
			}
		case ',':
			if depth == 1 {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		case '}':
			if depth--; depth == 0 {
				return open, append(parts, s[start:i]), i + 1, nil
			}
			if depth < 0 {
				return 0, nil, 0, path.ErrBadPattern
			}
		}
	}
	if depth > 0 {
		return 0, nil, 0, path.ErrBadPattern
	}
	return -1, nil, 0, nil
}
