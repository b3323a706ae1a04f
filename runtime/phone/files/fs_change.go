package files

import (
	"io/fs"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// Mkdir makes a directory and its missing parents. It returns nil if the directory
// exists already, as on real devices.
func (f *FS) Mkdir(path string) error {
	f.ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	return failure.Wrap("make directory", path, f.mkdir(path, f.clock().UnixNano()))
}

func (f *FS) mkdir(path string, when int64) error {
	parts, err := splitPath(path)
	if err != nil {
		return err
	}
	sub := ""
	for i, part := range parts {
		sub += "/" + part
		at, err := f.walk(sub, true)
		switch {
		case err != nil:
			return err
		case at.node == nil:
			if at.dir == nil {
				return ErrInvalid
			}
			at.dir.children[at.name] = f.newNode(Directory, when)
			at.dir.mtime.Store(when)
		case at.node.kind != Directory && i == len(parts)-1:
			return fs.ErrExist
		case at.node.kind != Directory:
			return ErrNotDir
		}
	}
	return nil
}

// Remove removes a file, a link or an empty directory.
func (f *FS) Remove(path string) error { return f.remove("remove", path, false) }

// RemoveAll removes a file or a directory with everything in it. Unlike
// os.RemoveAll it returns fs.ErrNotExist if there is no such file.
func (f *FS) RemoveAll(path string) error { return f.remove("remove all", path, true) }

func (f *FS) remove(op, path string, deep bool) error {
	f.ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.find(path, false)
	switch {
	case err != nil:
		return failure.Wrap(op, path, err)
	case at.dir == nil || at.node.denied:
		return failure.Wrap(op, path, fs.ErrPermission)
	case !deep && len(at.node.children) > 0:
		return failure.Wrap(op, path, ErrNotEmpty)
	}
	delete(at.dir.children, at.name)
	f.touch(at.dir)
	f.drop(at.node)
	return nil
}

// drop decreases the link count of a node that was removed from its directory, and
// of all nodes below it.
func (f *FS) drop(n *node) {
	for _, c := range n.children {
		f.drop(c)
	}
	n.nlink--
	if n.kind == Regular && n.nlink == 0 {
		n.data.unlink(f.vol)
	}
}

// Rename moves a file or a directory. It replaces a file at the target. The error
// is fs.ErrExist if there is a directory, and ErrInvalid if the target is inside
// the source.
func (f *FS) Rename(from, to string) error {
	f.ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	src, err := f.find(from, false)
	if err != nil {
		return failure.Wrap("rename", from, err)
	}
	dst, err := f.walk(to, false)
	switch {
	case err != nil:
		return failure.Wrap("rename", to, err)
	case src.dir == nil || src.node.denied:
		return failure.Wrap("rename", from, fs.ErrPermission)
	case dst.node == src.node:
		return nil
	case dst.node != nil && dst.node.kind == Directory:
		return failure.Wrap("rename", to, fs.ErrExist)
	case dst.node != nil && src.node.kind == Directory:
		return failure.Wrap("rename", to, ErrNotDir)
	case within(src.node, dst.dir):
		return failure.Wrap("rename", to, ErrInvalid)
	}
	if dst.node != nil {
		f.drop(dst.node)
	}
	delete(src.dir.children, src.name)
	dst.dir.children[dst.name] = src.node
	f.touch(src.dir)
	f.touch(dst.dir)
	return nil
}

// within reports whether d is n or below it.
func within(n, d *node) bool {
	if n == d {
		return true
	}
	for _, c := range n.children {
		if c.kind == Directory && within(c, d) {
			return true
		}
	}
	return false
}

// Symlink makes link a symbolic link to target. The target need not exist.
func (f *FS) Symlink(target, link string) error {
	if target == "" || len(target) > MaxPath {
		return failure.Wrap("symlink", target, ErrInvalid)
	}
	n := f.newNode(Symlink, f.clock().UnixNano())
	n.link = target
	return f.attach("symlink", link, func() (*node, error) { return n, nil })
}

// Link makes link a second name of the file target.
func (f *FS) Link(target, link string) error {
	return f.attach("link", link, func() (*node, error) {
		at, err := f.find(target, false)
		if err == nil && at.node.kind == Directory {
			err = fs.ErrPermission
		}
		if err != nil {
			return nil, failure.Wrap("link", target, err)
		}
		at.node.nlink++
		return at.node, nil
	})
}

// attach puts the node that get returns at a free path.
func (f *FS) attach(op, path string, get func() (*node, error)) error {
	f.ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.walk(path, false)
	switch {
	case err != nil:
		return failure.Wrap(op, path, err)
	case at.node != nil:
		return failure.Wrap(op, path, fs.ErrExist)
	}
	n, err := get()
	if err != nil {
		return err
	}
	at.dir.children[at.name] = n
	f.touch(at.dir)
	return nil
}

// Truncate sets the size of a file. If the file grows, the new bytes are zeros.
func (f *FS) Truncate(path string, size int64) error {
	n, err := f.regular(path)
	if err == nil {
		err = n.data.truncate(f.vol, size)
	}
	if err == nil {
		f.touch(n)
	}
	return failure.Wrap("truncate", path, err)
}

// regular finds a plain file.
func (f *FS) regular(path string) (*node, error) {
	f.ready()
	f.mu.RLock()
	defer f.mu.RUnlock()
	at, err := f.find(path, true)
	if err != nil {
		return nil, err
	}
	if at.node.kind == Directory {
		return nil, ErrIsDir
	}
	return at.node, nil
}

// Chtimes sets the modification time of a file. It follows symbolic links.
func (f *FS) Chtimes(path string, mtime time.Time) error {
	f.ready()
	f.mu.RLock()
	defer f.mu.RUnlock()
	at, err := f.find(path, true)
	if err != nil {
		return failure.Wrap("set times", path, err)
	}
	at.node.mtime.Store(mtime.UnixNano())
	return nil
}

// AddSynthetic makes a file and its missing parents. The content is computed from
// the seed when it is read, and takes no memory until the file is written to.
func (f *FS) AddSynthetic(path string, size int64, seed uint64, mtime time.Time) error {
	if size < 0 {
		return failure.Wrap("add", path, ErrInvalid)
	}
	f.ready()
	if err := f.vol.Reserve(occupied(size)); err != nil {
		return failure.Wrap("add", path, err)
	}
	err := f.addSource(path, noise{seed: seed, size: size}, mtime)
	if err != nil {
		_ = f.vol.Reserve(-occupied(size)) // giving back cannot fail
	}
	return failure.Wrap("add", path, err)
}

// addSource makes a file whose content comes from src. It takes no space on the
// volume.
func (f *FS) addSource(path string, src Source, mtime time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	when := mtime.UnixNano()
	if dir := parentOf(path); dir != "" {
		if err := f.mkdir(dir, when); err != nil {
			return err
		}
	}
	at, err := f.walk(path, false)
	switch {
	case err != nil:
		return err
	case at.node != nil:
		return fs.ErrExist
	}
	n := f.newNode(Regular, when)
	n.data.src, n.data.srcEnd, n.data.lazy = src, maxOffset, true
	at.dir.children[at.name] = n
	return nil
}

func parentOf(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return ""
}
