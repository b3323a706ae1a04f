package afc

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// statsInFlight is how many stats of a listing are under way at once.
const statsInFlight = 32

// WalkFunc is called by Walk for each file and directory. With an error it is
// called for what could not be listed or described; returning nil then goes on
// without it. It must do so only if Passable says that the error is about that
// entry alone, or the walk is cut off unseen. fs.SkipDir and fs.SkipAll work as with fs.WalkDir.
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
	list, err := c.List(ctx, file)
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
		if e.Err == nil {
			err = c.walk(ctx, e.Path, e.Info, fn, t)
		} else {
			err = fn(e.Path, e.Info, e.Err)
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

// Entry is one name of a directory, described.
type Entry struct {
	Path string
	Info Info
	// Err is why the device did not describe it. Passable holds for it, and
	// Info has a name and the kind Unknown.
	Err error
}

// Skip is what a call left out, and why.
type Skip struct {
	Path string
	Err  error
}

// Passable reports whether an error is about a single file or directory of a
// tree, so that a walk may go on without it if it says so. Such errors are the
// device's refusals (no permission, gone since it was listed), and names and
// descriptions that make no sense. All others mean that the rest is unknown.
func Passable(err error) bool {
	return refused(err) || errors.Is(err, errKeys) || errors.Is(err, ErrName)
}

// refused reports whether the device said that it does not give one file out.
func refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status == Success {
		return false
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)
}

// List describes what is in a directory, sorted by name. Several requests are
// under way at once. It fails if the directory cannot be read, or with the
// first error that is not Passable.
func (c *Client) List(ctx context.Context, dir string) ([]Entry, error) {
	names, err := c.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	list := make([]Entry, len(names))
	calls := make([]*call, len(names))
	defer func() {
		for _, k := range calls {
			if k != nil {
				c.forget(k)
			}
		}
	}()
	for i, name := range names {
		e := &list[i]
		e.Path, e.Err = childPath("read directory", dir, name)
		if e.Err != nil {
			e.Path = strings.TrimSuffix(dir, "/") + "/" + name // only to be shown
		}
	}
	sent := 0
	for i := range list {
		for ; sent < len(list) && sent < i+statsInFlight; sent++ {
			if list[sent].Err != nil {
				continue
			}
			if calls[sent], err = c.startStat(ctx, list[sent].Path); err != nil {
				return nil, err
			}
		}
		e := &list[i]
		if e.Err == nil {
			e.Info, e.Err = c.endStat(ctx, e.Path, calls[i])
			calls[i] = nil
		}
		if e.Err == nil {
			continue
		}
		if !Passable(e.Err) {
			return nil, e.Err
		}
		e.Info = Info{Name: names[i], Kind: Unknown}
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
// too. A bad pattern is path.ErrBadPattern.
//
// What the device refuses is passed over and told, if it could have matched or
// could hold a match. A path that matches and is not described has an Err.
func (c *Client) Glob(ctx context.Context, pattern string) ([]Entry, []Skip, error) {
	alternatives, err := expandBraces(pattern)
	if err != nil {
		return nil, nil, fail("glob", pattern, err)
	}
	g := globber{
		c:       c,
		found:   map[string]Entry{},
		lists:   map[string][]Entry{},
		seen:    map[string]struct{}{},
		listed:  map[string]struct{}{},
		skipped: map[string]error{},
	}
	for _, p := range alternatives {
		base, elements, err := splitPattern(p)
		if err != nil {
			return nil, nil, fail("glob", pattern, err)
		}
		if err := g.match(ctx, base, elements); err != nil {
			return nil, nil, err
		}
	}
	out := make([]Entry, 0, len(g.found))
	for _, p := range slices.Sorted(maps.Keys(g.found)) {
		out = append(out, g.found[p])
	}
	var skipped []Skip
	for _, p := range slices.Sorted(maps.Keys(g.skipped)) {
		skipped = append(skipped, Skip{p, g.skipped[p]})
	}
	return out, skipped, nil
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
	c       *Client
	found   map[string]Entry
	lists   map[string][]Entry
	seen    map[string]struct{} // what match has done
	listed  map[string]struct{} // directories that a listing had
	skipped map[string]error
	trail   trail
}

// list describes a directory of the pattern. One that is not there holds
// nothing; one that a listing had, or that is refused, was skipped.
func (g *globber) list(ctx context.Context, dir string) ([]Entry, error) {
	if l, ok := g.lists[dir]; ok {
		return l, nil
	}
	l, err := g.c.List(ctx, dir)
	if err != nil {
		if err := g.pass(ctx, dir, dir, err); err != nil {
			return nil, err
		}
	}
	if g.trail.entries += len(l); g.trail.entries > MaxEntries {
		return nil, fail("glob", dir, &LimitError{"entries", MaxEntries})
	}
	g.lists[dir] = l
	return l, nil
}

// pass decides about an error for a file of the pattern: nil if the device
// refused it, or if there is no directory dir that it could be in.
func (g *globber) pass(ctx context.Context, file, dir string, err error) error {
	_, had := g.listed[file]
	switch {
	case refused(err) && errors.Is(err, fs.ErrNotExist) && !had:
		return nil
	case refused(err):
		g.skipped[file] = err
		return nil
	}
	var e *Error
	if !errors.As(err, &e) || e.Status == Success {
		return err
	}
	info, statErr := g.c.Stat(ctx, dir)
	if errors.Is(statErr, fs.ErrNotExist) || statErr == nil && info.Kind != Directory {
		return nil
	}
	return err
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
		if err := g.entry(ctx, e, elements); err != nil {
			return err
		}
	}
	return nil
}

// entry matches what a listing had.
func (g *globber) entry(ctx context.Context, e Entry, elements []string) error {
	first, rest := elements[0], elements[1:]
	ok, _ := path.Match(first, e.Info.Name)
	if !ok && first != "**" {
		return nil
	}
	if e.Err != nil {
		g.skipped[e.Path] = e.Err
	}
	if e.Info.Kind == Directory {
		g.listed[e.Path] = struct{}{}
	}
	switch {
	case first == "**" && e.Info.Kind == Directory:
		return g.match(ctx, e.Path, elements)
	case first == "**":
		return nil
	case len(rest) == 0:
		if e.Err == nil || errors.Is(e.Err, fs.ErrPermission) || errors.Is(e.Err, errKeys) {
			g.found[e.Path] = e
		}
		return nil
	case e.Info.Kind == Directory || e.Info.Kind == Symlink:
		return g.match(ctx, e.Path, rest)
	}
	return nil
}

// literal is the end of a pattern without stars: the path counts if it exists.
func (g *globber) literal(ctx context.Context, file string) error {
	info, err := g.c.Stat(ctx, file)
	if err == nil {
		g.found[file] = Entry{Path: file, Info: info}
		return nil
	}
	return g.pass(ctx, file, path.Dir(file), err)
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
