package files

import (
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// File is an open file. It can still be used after its name was removed or moved.
// All methods may be called concurrently.
type File struct {
	fs     *FS
	node   *node
	path   string
	flag   int
	closed atomic.Bool
}

const accessMode = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

// Open opens a file. flag is one of os.O_RDONLY, os.O_WRONLY and os.O_RDWR
// with os.O_CREATE, os.O_EXCL, os.O_TRUNC and os.O_APPEND. Symbolic links
// are followed inside the root.
func (f *FS) Open(path string, flag int) (*File, error) {
	f.ready()
	n, err := f.lookup(path, flag)
	if err != nil {
		return nil, failure.Wrap("open", path, err)
	}
	h := &File{fs: f, node: n, path: path, flag: flag}
	if flag&os.O_TRUNC != 0 && h.writable() {
		if err := n.data.truncate(f.vol, 0); err != nil {
			_ = h.Close() // the first failure counts
			return nil, failure.Wrap("open", path, err)
		}
		f.touch(n)
	}
	return h, nil
}

// lookup finds the node, or makes it with os.O_CREATE, and counts a handle for it.
func (f *FS) lookup(path string, flag int) (*node, error) {
	if flag&os.O_CREATE != 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
	} else {
		f.mu.RLock()
		defer f.mu.RUnlock()
	}
	at, err := f.walk(path, true)
	switch {
	case err != nil:
		return nil, err
	case at.node == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case at.node == nil:
		at.node = f.newNode(Regular, f.clock().UnixNano())
		at.dir.children[at.name] = at.node
		f.touch(at.dir)
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case at.node.kind == Directory:
		return nil, ErrIsDir
	}
	at.node.data.open()
	return at.node, nil
}

func (h *File) writable() bool { return h.flag&accessMode != os.O_RDONLY }

func (h *File) check(op string, write bool) error {
	switch {
	case h.closed.Load():
		return failure.Wrap(op, h.path, fs.ErrClosed)
	case write && !h.writable(), !write && h.flag&accessMode == os.O_WRONLY:
		return failure.Wrap(op, h.path, fs.ErrPermission)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (h *File) ReadAt(p []byte, off int64) (int, error) {
	if err := h.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, failure.Wrap("read", h.path, ErrInvalid)
	}
	return h.node.data.readAt(p, off)
}

// WriteAt writes all of p at off, or at the end if the file was opened with
// os.O_APPEND. If there is no room, it writes nothing and the cause is ErrNoSpace.
func (h *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, failure.Wrap("write", h.path, ErrInvalid)
	}
	if h.flag&os.O_APPEND != 0 {
		off = -1
	}
	if _, err := h.write(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WritePage writes a page from NewPage at off, a multiple of PageSize, like WriteAt. The
// file keeps the page instead of a copy, so the caller must not use it any more.
func (h *File) WritePage(page []byte, off int64) error {
	err := h.check("write", true)
	if err == nil && off < 0 {
		err = failure.Wrap("write", h.path, ErrInvalid)
	}
	if err != nil {
		FreePage(page)
		return err
	}
	if h.flag&os.O_APPEND != 0 {
		off = -1
	}
	if err := h.node.data.putPage(h.fs.vol, page, off); err != nil {
		return failure.Wrap("write", h.path, err)
	}
	h.fs.touch(h.node)
	return nil
}

// Append writes p at the end of the file and returns the offset of p.
func (h *File) Append(p []byte) (off int64, err error) { return h.write(p, -1) }

func (h *File) write(p []byte, off int64) (int64, error) {
	if err := h.check("write", true); err != nil {
		return 0, err
	}
	at, err := h.node.data.writeAt(h.fs.vol, p, off)
	if err != nil {
		return 0, failure.Wrap("write", h.path, err)
	}
	h.fs.touch(h.node)
	return at, nil
}

// Truncate sets the size. If the file grows, the new bytes are zeros.
func (h *File) Truncate(size int64) error {
	if err := h.check("truncate", true); err != nil {
		return err
	}
	if err := h.node.data.truncate(h.fs.vol, size); err != nil {
		return failure.Wrap("truncate", h.path, err)
	}
	h.fs.touch(h.node)
	return nil
}

// Size returns the present size.
func (h *File) Size() int64 { return h.node.data.length() }

// Lock takes the lock of the file, exclusive or shared. It converts a lock that this
// handle holds already. It does not wait: the error is ErrBusy if the lock of another
// handle conflicts.
func (h *File) Lock(exclusive bool) error {
	c := h.node.data
	c.lockMu.Lock()
	defer c.lockMu.Unlock()
	if h.closed.Load() {
		return failure.Wrap("lock", h.path, fs.ErrClosed)
	}
	_, mine := c.shared[h]
	others := len(c.shared)
	if mine {
		others--
	}
	if c.owner != nil && c.owner != h || exclusive && others > 0 {
		return failure.Wrap("lock", h.path, ErrBusy)
	}
	delete(c.shared, h)
	c.owner = nil
	if exclusive {
		c.owner = h
		return nil
	}
	if c.shared == nil {
		c.shared = map[*File]struct{}{}
	}
	c.shared[h] = struct{}{}
	return nil
}

// Unlock releases the lock. It does nothing if this handle holds none.
func (h *File) Unlock() {
	c := h.node.data
	c.lockMu.Lock()
	defer c.lockMu.Unlock()
	delete(c.shared, h)
	if c.owner == h {
		c.owner = nil
	}
}

// Close closes the handle and releases its lock. A second Close does nothing.
func (h *File) Close() error {
	if h.closed.Swap(true) {
		return nil
	}
	h.Unlock()
	h.node.data.release(h.fs.vol)
	return nil
}
