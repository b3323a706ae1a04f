package afc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/savefile"
)

// PullTree copies remote to the local path. Remote may be a single file or a directory
// with everything below it; symbolic links are copied as links. PullTree adds to
// directories that exist and replaces files that exist. It keeps modification times. It
// copies several files at the same time.
//
// If the device refuses an item below remote, PullTree skips it and reports it in the
// Tree. A file gets its name only when it is complete, even if the copy fails later.
// Nothing is written outside of local, whatever names and links the device sends. A
// name that would refer to another place ends the copy with an error. A name that this
// computer cannot write is changed.
func (c *Client) PullTree(ctx context.Context, remote, local string, t Transfer) (Tree, error) {
	t = t.withDefaults()
	ctx, stop := c.watched(ctx, t.Idle)
	defer stop()
	p := &treePull{c: c, remote: remote, t: t}
	items, err := p.scan(ctx)
	if err != nil {
		return Tree{}, err
	}
	dir := local
	p.single = items[0].kind != Directory
	if p.single {
		dir, items[0].local = filepath.Dir(local), filepath.Base(local)
	} else if err := os.MkdirAll(local, 0o777); err != nil {
		return Tree{}, fail("pull", remote, err)
	}
	p.root, err = os.OpenRoot(dir)
	if err != nil {
		return Tree{}, fail("pull", remote, err)
	}
	defer p.root.Close()
	if err := p.run(ctx, items); err != nil {
		return Tree{}, err
	}
	slices.SortFunc(p.tree.Skipped, func(a, b Skip) int { return strings.Compare(a.Path, b.Path) })
	return p.tree, nil
}

type treePull struct {
	c      *Client
	root   *os.Root
	remote string
	single bool // remote is not a directory
	t      Transfer

	mu   sync.Mutex
	tree Tree
}

// scan lists the remote tree. The first item is the root.
func (p *treePull) scan(ctx context.Context) (items []item, err error) {
	base := path.Clean(p.remote)
	err = p.c.Walk(ctx, base, func(file string, info Info, err error) error {
		rel := "."
		if file != base {
			rel = strings.TrimPrefix(strings.TrimPrefix(file, base), "/")
			if base == "." {
				rel = file
			}
		}
		switch {
		case err != nil && file != base && Passable(err) && !errors.Is(err, ErrName):
			p.skip(file, err)
			return nil
		case err != nil:
			return err
		case info.Kind > Symlink && file != base:
			err := info.Odd
			if err == nil {
				err = ErrKind
			}
			p.skip(file, &Error{Op: "pull", Path: file, Err: err})
			return nil
		}
		items = append(items, item{
			rel: rel, kind: info.Kind, size: info.Size, mtime: info.ModTime,
			target: info.LinkTarget,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.name(items)
	return items, nil
}

// skip records an item that is not copied.
func (p *treePull) skip(file string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tree.Skipped = append(p.tree.Skipped, Skip{file, err})
}

// name gives the items names that this computer can write. A directory precedes its
// content.
func (p *treePull) name(items []item) {
	in := map[string][]string{}
	for _, i := range items[1:] {
		in[path.Dir(i.rel)] = append(in[path.Dir(i.rel)], path.Base(i.rel))
	}
	dirs, names := map[string]string{".": "."}, map[string]string{}
	for dir, list := range in {
		for n, name := range savefile.Names(p.t.goos, list) {
			names[path.Join(dir, list[n])] = name
		}
	}
	items[0].local = "."
	for k := range items[1:] {
		i := &items[k+1]
		i.local = path.Join(dirs[path.Dir(i.rel)], names[i.rel])
		dirs[i.rel] = i.local
		if path.Base(i.rel) != names[i.rel] {
			p.tree.Renamed = append(p.tree.Renamed, Renamed{p.path(*i), names[i.rel]})
		}
	}
}

func (p *treePull) path(i item) string {
	if p.single {
		return p.remote
	}
	return path.Join(p.remote, i.rel)
}

func (p *treePull) run(ctx context.Context, items []item) error {
	var files, links, dirs []item
	sum := progress{tell: p.t.Progress}
	for _, i := range items {
		switch {
		case i.kind == Directory:
			dirs = append(dirs, i)
			if err := p.mkdir(i); err != nil {
				return fail("pull", p.path(i), err)
			}
		case i.kind == Symlink && !p.single:
			links = append(links, i)
		default:
			files = append(files, i)
			sum.total += i.size
			if sum.total < 0 {
				sum.total = math.MaxInt64 // the sum overflows, so no size is right
			}
		}
	}
	err := each(len(files), p.t.InFlight, func(k int, stop func() error) error {
		t := p.t
		t.Progress, t.stop = sum.file(), stop
		return p.file(ctx, files[k], t)
	})
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := p.link(l); err != nil {
			return fail("pull", p.path(l), err)
		}
	}
	for _, d := range slices.Backward(dirs) {
		// The time is set last, because each file created in a directory changes it.
		if err := p.root.Chtimes(filepath.FromSlash(d.local), time.Time{}, d.mtime); err != nil {
			return fail("pull", p.path(d), err)
		}
	}
	p.tree.Directories = len(dirs)
	return nil
}

func (p *treePull) mkdir(i item) error {
	if i.rel == "." {
		return nil
	}
	name := filepath.FromSlash(i.local)
	err := p.root.Mkdir(name, 0o777)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := p.root.Lstat(name)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: %w and is not a directory", name, fs.ErrExist)
	}
	return err
}

// file copies a file. A file that the device refuses is skipped, unless it is the only
// file to copy.
func (p *treePull) file(ctx context.Context, i item, t Transfer) error {
	remote, n := p.path(i), int64(0)
	f, size, err := p.c.openToPull(ctx, remote, i)
	if refused(err) && !p.single {
		p.skip(remote, err)
		return nil
	}
	if err != nil {
		return err
	}
	o := savefile.Options{}
	if i.kind == Regular {
		o.ModTime = i.mtime
	}
	began := false
	err = savefile.In(p.root, filepath.FromSlash(i.local), o, func(w *os.File) error {
		began = true
		n, err = f.pull(ctx, savefile.Writer(w), size, t)
		return err
	})
	if !began {
		f.abandon(ctx)
	}
	var told *Error
	if err != nil && !errors.As(err, &told) {
		err = fail("pull", remote, err)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tree.Bytes += n
	p.tree.Files++
	if i.kind == Symlink {
		p.tree.Links = append(p.tree.Links, Link{Path: remote, Target: i.target, AsFile: true})
	}
	return nil
}

// openToPull opens a file and returns its size. For a symbolic link this is the size of
// the target.
func (c *Client) openToPull(ctx context.Context, remote string, i item) (*File, int64, error) {
	f, err := c.Open(ctx, remote, ModeRead)
	if err != nil || i.kind == Regular {
		return f, i.size, err
	}
	size, err := f.measure(ctx)
	if err != nil {
		f.abandon(ctx)
		return nil, 0, err
	}
	return f, size, nil
}

// link creates a symbolic link. Whether that is possible depends on the operating
// system, the file system and the target, so a link that cannot be created is skipped.
func (p *treePull) link(i item) error {
	name := filepath.FromSlash(i.local)
	info, err := p.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: %w and is a directory", name, fs.ErrExist)
	default:
		if err := p.root.Remove(name); err != nil {
			return err
		}
	}
	if err := p.root.Symlink(i.target, name); err != nil {
		p.skip(p.path(i), fail("pull", p.path(i), err))
		return nil
	}
	p.tree.Links = append(p.tree.Links, Link{Path: p.path(i), Target: i.target})
	return nil
}
