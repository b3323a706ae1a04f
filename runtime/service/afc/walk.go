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

// statsInFlight is the number of stats of a listing that wait for an answer at the same
// time.
const statsInFlight = 32

// WalkFunc is the type of the function that Walk calls for each file and directory. If
// err is not nil, the device did not list or describe the file. If the function then
// returns nil, the walk continues without the file. It must do so only if Passable(err)
// is true; otherwise the walk would be incomplete without notice. fs.SkipDir and
// fs.SkipAll work as for fs.WalkDir.
type WalkFunc func(file string, info Info, err error) error

// Walk visits root and everything below it. It visits a directory before its entries,
// and the entries in the order of their names. It does not follow symbolic links. The
// error matches ErrTooLarge if the tree exceeds MaxEntries or MaxDepth.
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
		err = fn(file, info, err)
		if err == fs.SkipDir {
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

// Entry is an entry of a directory with its description.
type Entry struct {
	Path string
	Info Info
	// Err is the reason why the device did not describe the entry. Passable(Err) is
	// true then, and Info has only a name and the kind Unknown.
	Err error
}

// Skip is an item that a call left out, with the reason.
type Skip struct {
	Path string
	Err  error
}

// Passable reports whether an error concerns a single file or directory of a tree, so
// that a walk may continue without it and report it. Such errors are refusals of the
// device (no permission, removed since the listing), and invalid names and
// descriptions. After any other error the rest of the tree is unknown.
func Passable(err error) bool {
	return refused(err) || errors.Is(err, errKeys) || errors.Is(err, ErrName)
}

// refused reports whether the device refused access to one file.
func refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status == Success {
		return false
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)
}

// List describes the entries of a directory, sorted by name. Several requests are
// pending at the same time. It fails if the directory cannot be read, or with the first
// error that is not Passable.
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
			e.Path = strings.TrimSuffix(dir, "/") + "/" + name // used only in messages
		}
	}
	sent := 0
	for i := range list {
		for ; sent < len(list) && sent < i+statsInFlight; sent++ {
			if list[sent].Err != nil {
				continue
			}
			calls[sent], err = c.startStat(ctx, list[sent].Path)
			if err != nil {
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

// maxBraces bounds the number of patterns that the braces of one pattern expand to.
const maxBraces = 1024

// Glob returns the paths that match a pattern, sorted. The elements of the pattern have
// the syntax of path.Match: *, ?, [a-z], and a backslash before a character that stands
// for itself. Glob also supports
//
//	**      as a whole element: any number of directories, or none
//	{a,b}   either; braces nest and may contain slashes
//
// as in "DCIM/**/*.{HEIC,MOV}". A star also matches names that begin with a dot. The
// error is path.ErrBadPattern if the pattern is malformed.
//
// If the device refuses an item that could match or contain a match, Glob skips and
// reports it. A matching path that the device did not describe has an Err.
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

// splitPattern splits a pattern into elements and checks each of them.
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

// globber matches one pattern. It keeps listings for the alternatives of the pattern.
type globber struct {
	c       *Client
	found   map[string]Entry
	lists   map[string][]Entry
	seen    map[string]struct{} // arguments for which match has run
	listed  map[string]struct{} // directories that appeared in a listing
	skipped map[string]error
	trail   trail
}

// list describes the entries of a directory of the pattern. It returns none if the
// directory does not exist. If the device refuses the directory, or if the directory has
// disappeared since it was listed, list records it as skipped.
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
	g.trail.entries += len(l)
	if g.trail.entries > MaxEntries {
		return nil, fail("glob", dir, &LimitError{"entries", MaxEntries})
	}
	g.lists[dir] = l
	return l, nil
}

// pass decides whether to ignore an error for a file of the pattern. It returns nil if
// the device refused the file, or if the directory dir that would hold the file does
// not exist.
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

// entry matches one entry of a listing.
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

// literal handles the end of a pattern that has no wildcards. The path matches if it
// exists.
func (g *globber) literal(ctx context.Context, file string) error {
	info, err := g.c.Stat(ctx, file)
	if err == nil {
		g.found[file] = Entry{Path: file, Info: info}
		return nil
	}
	return g.pass(ctx, file, path.Dir(file), err)
}

// expandBraces expands {a,b}. A brace that is not closed makes the pattern malformed.
// Braces without a comma stand for their content.
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

// firstBraces finds the first outermost braces of s and the alternatives between them.
func firstBraces(s string) (open int, parts []string, end int, err error) {
	open = -1
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
			if depth == 1 {
				open, start = i, i+1
			}
		case ',':
			if depth == 1 {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		case '}':
			depth--
			if depth == 0 {
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
