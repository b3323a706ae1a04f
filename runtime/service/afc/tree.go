package afc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tree is what PullTree or PushTree copied.
type Tree struct {
	Files, Directories, Links int
	Bytes                     int64
	// Skipped lists what was not copied because it cannot be: directories the
	// device does not let anybody read, sockets and the like.
	Skipped []string
}

// item is one file, directory or link of a tree.
type item struct {
	rel    string // path below the root, with slashes; "." is the root
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

// file returns the Progress of one file.
func (p *progress) file() func(done, total int64) {
	last := int64(0)
	return func(done, _ int64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done += done - last
		last = done
		p.total = max(p.total, p.done)
		p.tell(p.done, p.total)
	}
}

var errStopped = errors.New("stopped because another file failed")

// each runs fn for the numbers below n, several at once, and returns the error
// of the lowest that failed on its own account. After a failure no further one
// is begun, and those under way are told by stop.
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
				if errs[i] = fn(i, stop); errs[i] != nil {
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

// PullTree copies what remote names to the local path: a directory with all
// that is below it, symbolic links as links, or a single file. Directories
// that exist are added to, files replaced; modification times are kept.
// Several files are under way at once. Nothing is written outside of local,
// whatever names and links the device comes up with: unsafe names end the copy
// with an error.
func (c *Client) PullTree(ctx context.Context, remote, local string, t Transfer) (Tree, error) {
	t = t.withDefaults()
	items, skipped, err := c.scan(ctx, remote)
	if err != nil {
		return Tree{}, err
	}
	dir, single := local, items[0].kind != Directory
	if single {
		dir, items[0].rel = filepath.Dir(local), filepath.Base(local)
	} else if err := os.MkdirAll(local, 0o777); err != nil {
		return Tree{}, fail("pull", remote, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Tree{}, fail("pull", remote, err)
	}
	defer root.Close()
	p := &treePull{c: c, root: root, remote: remote, single: single, t: t}
	if err := p.run(ctx, items); err != nil {
		return Tree{}, err
	}
	p.tree.Skipped = skipped
	return p.tree, nil
}

// scan lists a remote tree.
func (c *Client) scan(ctx context.Context, remote string) (items []item, skipped []string, err error) {
	base := path.Clean(remote)
	err = c.Walk(ctx, base, func(file string, info Info, err error) error {
		rel := "."
		if file != base {
			rel = strings.TrimPrefix(strings.TrimPrefix(file, base), "/")
			if base == "." {
				rel = file
			}
		}
		switch {
		case errors.Is(err, PermissionDenied) && file != base:
			skipped = append(skipped, file)
			return nil
		case err != nil:
			return err
		case info.Kind > Symlink && file != base:
			skipped = append(skipped, file)
			return nil
		case rel != "." && !safeLocally(info.Name):
			return &Error{Op: "pull", Path: file, Err: fmt.Errorf("%w %q", errName, info.Name)}
		}
		items = append(items, item{rel, info.Kind, info.Size, info.ModTime, info.LinkTarget})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return items, skipped, nil // the root is there, or err is
}

// safeLocally reports whether a name from the device is one plain name here;
// Windows has more separators and reserved names.
func safeLocally(name string) bool {
	if runtime.GOOS == "windows" && strings.ContainsAny(name, `\:`) {
		return false
	}
	return filepath.IsLocal(name)
}

type treePull struct {
	c      *Client
	root   *os.Root
	remote string
	single bool // remote is no directory
	t      Transfer
	tree   Tree
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
		}
	}
	var mu sync.Mutex
	err := each(len(files), p.t.InFlight, func(k int, stop func() error) error {
		t := p.t
		t.Progress, t.stop = sum.file(), stop
		n, err := p.file(ctx, files[k], t)
		mu.Lock()
		defer mu.Unlock()
		p.tree.Bytes += n
		return err
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
		// Last, as every file that is made in a directory changes its time.
		if err := p.root.Chtimes(filepath.FromSlash(d.rel), time.Time{}, d.mtime); err != nil {
			return fail("pull", p.path(d), err)
		}
	}
	p.tree.Files, p.tree.Links, p.tree.Directories = len(files), len(links), len(dirs)
	return nil
}

func (p *treePull) mkdir(i item) error {
	if i.rel == "." {
		return nil
	}
	name := filepath.FromSlash(i.rel)
	err := p.root.Mkdir(name, 0o777)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := p.root.Lstat(name)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: %w and is no directory", name, fs.ErrExist)
	}
	return err
}

// unlink makes room for a file or link: what is written must not go through a
// link that was there before.
func (p *treePull) unlink(name string, plain bool) error {
	info, err := p.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case plain && info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return fmt.Errorf("%s: %w and is a directory", name, fs.ErrExist)
	}
	return p.root.Remove(name)
}

func (p *treePull) file(ctx context.Context, i item, t Transfer) (int64, error) {
	remote, name := p.path(i), filepath.FromSlash(i.rel)
	if err := p.unlink(name, true); err != nil {
		return 0, fail("pull", remote, err)
	}
	w, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return 0, fail("pull", remote, err)
	}
	n, err := p.pull(ctx, i, remote, w, t)
	if closeErr := w.Close(); err == nil {
		err = fail("pull", remote, closeErr)
	}
	if err == nil && i.kind == Regular {
		err = fail("pull", remote, p.root.Chtimes(name, time.Time{}, i.mtime))
	}
	return n, err
}

func (p *treePull) pull(ctx context.Context, i item, remote string, w io.Writer, t Transfer) (int64, error) {
	if i.kind != Regular {
		return p.c.Pull(ctx, remote, w, t)
	}
	f, err := p.c.Open(ctx, remote, ModeRead)
	if err != nil {
		return 0, err
	}
	return f.pull(ctx, w, i.size, t)
}

func (p *treePull) link(i item) error {
	name := filepath.FromSlash(i.rel)
	if err := p.unlink(name, false); err != nil {
		return err
	}
	return p.root.Symlink(i.target, name)
}

// PushTree copies what the local path names to remote: a directory with all
// that is below it, symbolic links as links, or a single file. Directories
// that exist are added to, files and links replaced; modification times are
// kept. Several files are under way at once.
func (c *Client) PushTree(ctx context.Context, local, remote string, t Transfer) (Tree, error) {
	t = t.withDefaults()
	info, err := os.Stat(local)
	if err != nil {
		return Tree{}, fail("push", remote, err)
	}
	p := &treePush{c: c, remote: remote, t: t}
	dir := local
	if !info.IsDir() {
		dir = filepath.Dir(local)
	}
	if p.root, err = os.OpenRoot(dir); err != nil {
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
	single             bool // local is no directory
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
			if i.target, err = p.root.Readlink(filepath.FromSlash(rel)); err != nil {
				return err
			}
			i.target = filepath.ToSlash(i.target)
			p.links = append(p.links, i)
		default:
			p.tree.Skipped = append(p.tree.Skipped, rel)
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
	}
	for _, d := range slices.Backward(p.dirs) {
		if err := p.setTime(ctx, d); err != nil && !errors.Is(err, PermissionDenied) {
			return err // the root of a service is not ours to change
		}
	}
	p.tree.Files, p.tree.Links, p.tree.Directories = len(p.files), len(p.links), len(p.dirs)
	return nil
}

func (p *treePush) setTime(ctx context.Context, i item) error {
	if i.mtime.Unix() < 0 {
		return nil // the protocol begins in 1970
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
