package afc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Tree describes what PullTree or PushTree copied.
type Tree struct {
	Files, Directories int
	Bytes              int64
	// Links are the symbolic links that were copied.
	Links []Link
	// Skipped lists the items that were not copied: files that the device refuses to
	// give, items that are neither a file, a directory nor a symbolic link, and
	// symbolic links that this computer cannot create. It also lists directories whose
	// time the device did not change.
	Skipped []Skip
	// Renamed lists the items that have another name on this computer, because it
	// cannot write the name that they have on the device.
	Renamed []Renamed
}

// Link is a symbolic link that was copied.
type Link struct {
	Path, Target string
	// AsFile says that the target of the link was copied instead of the link.
	AsFile bool
}

// Renamed is a file or directory that has another name on this computer.
type Renamed struct{ Path, Name string }

// ErrKind is the cause for an item that is neither a file, a directory nor a symbolic
// link. It matches errors.ErrUnsupported.
var ErrKind = fmt.Errorf("%w: neither a file, a directory nor a link", errors.ErrUnsupported)

// item is one file, directory or symbolic link of a tree.
type item struct {
	rel    string // path below the root, with slashes; "." is the root
	local  string // rel with the names that are used on this computer
	kind   Kind
	size   int64
	mtime  time.Time
	target string
}

// progress adds up the progress of the files of a tree.
type progress struct {
	mu          sync.Mutex
	done, total int64
	tell        func(done, total int64)
}

// file returns the Progress function for one file.
func (p *progress) file() func(done, total int64) {
	last := int64(0)
	return func(done, _ int64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done += done - last
		last = done
		p.total = max(p.total, p.done) // a file may grow
		p.tell(p.done, p.total)
	}
}

var errStopped = errors.New("stopped because another file failed")

// each calls fn for the numbers below n, several at the same time. After a failure it
// makes no further calls, and stop returns an error to the calls that still run. It
// returns the error of the lowest number that did not fail because of stop.
func each(n, atOnce int, fn func(i int, stop func() error) error) error {
	var mu sync.Mutex
	next, failed := 0, false
	errs := make([]error, n)
	stop := func() error {
		mu.Lock()
		defer mu.Unlock()
		if failed {
			return errStopped
		}
		return nil
	}
	var wg sync.WaitGroup
	for range min(atOnce, n) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				over := failed || i >= n
				mu.Unlock()
				if over {
					return
				}
				errs[i] = fn(i, stop)
				if errs[i] != nil {
					mu.Lock()
					failed = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, errStopped) {
			return err
		}
	}
	return nil
}

// PushTree copies the local path to remote. Local may name a single file or a directory
// with everything below it; symbolic links are copied as links. PushTree adds to
// directories that exist and replaces files and links that exist. It keeps modification
// times. It copies several files at the same time. If the device refuses an item,
// PushTree returns an error.
func (c *Client) PushTree(ctx context.Context, local, remote string, t Transfer) (Tree, error) {
	t = t.withDefaults()
	ctx, stop := c.watched(ctx, t.Idle)
	defer stop()
	info, err := os.Stat(local)
	if err != nil {
		return Tree{}, fail("push", remote, err)
	}
	p := &treePush{c: c, remote: remote, t: t}
	dir := local
	if !info.IsDir() {
		dir = filepath.Dir(local)
	}
	p.root, err = os.OpenRoot(dir)
	if err != nil {
		return Tree{}, fail("push", remote, err)
	}
	defer p.root.Close()
	if info.IsDir() {
		err = p.scan()
	} else {
		p.single = true
		p.files = []item{{rel: filepath.Base(local), size: info.Size(), mtime: info.ModTime()}}
	}
	if err == nil {
		err = p.run(ctx)
	}
	if err != nil {
		return Tree{}, err
	}
	return p.tree, nil
}

type treePush struct {
	c                  *Client
	root               *os.Root
	remote             string
	single             bool // local is not a directory
	t                  Transfer
	files, links, dirs []item
	tree               Tree
}

func (p *treePush) path(i item) string {
	if p.single {
		return p.remote
	}
	return path.Join(p.remote, i.rel)
}

// scan lists the local tree.
func (p *treePush) scan() error {
	err := fs.WalkDir(p.root.FS(), ".", func(rel string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		i := item{rel: rel, size: info.Size(), mtime: info.ModTime()}
		switch {
		case d.IsDir():
			p.dirs = append(p.dirs, i)
		case info.Mode().IsRegular():
			p.files = append(p.files, i)
		case info.Mode()&fs.ModeSymlink != 0:
			i.target, err = p.root.Readlink(filepath.FromSlash(rel))
			if err != nil {
				return err
			}
			i.target = filepath.ToSlash(i.target)
			p.links = append(p.links, i)
		default:
			err := &Error{Op: "push", Path: p.path(i), Err: ErrKind}
			p.tree.Skipped = append(p.tree.Skipped, Skip{filepath.FromSlash(rel), err})
		}
		return nil
	})
	return fail("push", p.remote, err)
}

func (p *treePush) run(ctx context.Context) error {
	for _, d := range p.dirs {
		if err := p.c.Mkdir(ctx, p.path(d)); err != nil {
			return err
		}
	}
	sum := progress{tell: p.t.Progress}
	for _, f := range p.files {
		sum.total += f.size
	}
	var mu sync.Mutex
	err := each(len(p.files), p.t.InFlight, func(k int, stop func() error) error {
		t := p.t
		t.Progress, t.stop = sum.file(), stop
		n, err := p.file(ctx, p.files[k], t)
		mu.Lock()
		defer mu.Unlock()
		p.tree.Bytes += n
		return err
	})
	if err != nil {
		return err
	}
	for _, l := range p.links {
		if err := p.link(ctx, l); err != nil {
			return err
		}
		p.tree.Links = append(p.tree.Links, Link{Path: p.path(l), Target: l.target})
	}
	for _, d := range slices.Backward(p.dirs) {
		err := p.setTime(ctx, d)
		switch {
		case err == nil:
		case d.rel == "." && errors.Is(err, PermissionDenied):
			// The root directory of a service may not be changed.
		case refused(err):
			p.tree.Skipped = append(p.tree.Skipped, Skip{p.path(d), err})
		default:
			return err
		}
	}
	p.tree.Files, p.tree.Directories = len(p.files), len(p.dirs)
	return nil
}

func (p *treePush) setTime(ctx context.Context, i item) error {
	if i.mtime.Unix() < 0 {
		return nil // the protocol has no times before 1970
	}
	return p.c.SetModTime(ctx, p.path(i), i.mtime)
}

func (p *treePush) file(ctx context.Context, i item, t Transfer) (int64, error) {
	r, err := p.root.Open(filepath.FromSlash(i.rel))
	if err != nil {
		return 0, fail("push", p.path(i), err)
	}
	defer r.Close()
	n, err := p.c.push(ctx, r, p.path(i), i.size, t)
	if err != nil {
		return n, err
	}
	return n, p.setTime(ctx, i)
}

func (p *treePush) link(ctx context.Context, i item) error {
	err := p.c.Symlink(ctx, i.target, p.path(i))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := p.c.Remove(ctx, p.path(i)); err != nil {
		return err
	}
	return p.c.Symlink(ctx, i.target, p.path(i))
}
