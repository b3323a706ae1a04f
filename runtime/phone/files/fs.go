// Package files is the storage of the simulated phone: file trees in memory, and the
// volume that they share. Nothing of it knows what a phone is; package phone fills the
// trees.
package files

import (
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// BlockSize is what the size of a file is rounded up to, and MaxPath the longest path in
// bytes, as PATH_MAX on iOS.
const (
	BlockSize = 4096
	MaxPath   = 1024
)

// Limits of a file tree.
const (
	maxName     = 255       // bytes of one path component, as on APFS
	maxSymlinks = 32        // symbolic links followed in one look-up
	maxOffset   = 1<<63 - 1 // of a write
)

// FileKind is what a path names.
type FileKind int

// The kinds of files.
const (
	// Regular is a plain file.
	Regular FileKind = iota
	// Directory is a directory.
	Directory
	// Symlink is a symbolic link.
	Symlink
)

// Info is what lstat would say.
type Info struct {
	Size, Blocks       int64 // bytes, and blocks of 512 bytes
	Nlink              int   // of a directory: entries and two
	Kind               FileKind
	ModTime, BirthTime time.Time
	LinkTarget         string // of a Symlink
}

// Volume is the flash storage that the file trees of a phone share. What the
// phone is delivered with is part of the initial used, so building a tree
// charges nothing and the numbers do not depend on who looked first.
type Volume struct {
	total uint64
	used  atomic.Int64
}

// NewVolume returns a volume of total bytes.
func NewVolume(total uint64, used int64) *Volume {
	v := &Volume{total: min(total, math.MaxInt64)}
	v.used.Store(used)
	return v
}

// Reserve takes delta bytes (or gives them back) or fails with ErrNoSpace.
func (v *Volume) Reserve(delta int64) error {
	for {
		used := v.used.Load()
		if delta > 0 && (used > int64(v.total) || delta > int64(v.total)-used) {
			return ErrNoSpace
		}
		if v.used.CompareAndSwap(used, max(used+delta, 0)) {
			return nil
		}
	}
}

// Free returns the bytes that are left.
func (v *Volume) Free() uint64 { return v.total - min(uint64(v.used.Load()), v.total) }

// FS is a file tree in memory. Paths are separated by slashes and relative
// to its root; "/x", "x" and "./x" are the same, ".." never leaves the root
// (fs.ErrPermission), and absolute symbolic links begin at the root again.
// All methods may be called concurrently.
type FS struct {
	clock func() time.Time
	vol   *Volume

	once  sync.Once
	build func(*FS) // fills the tree at its first use

	mu   sync.RWMutex
	root *node
}

// node is a file of any kind. children, link, nlink, denied belong to FS.mu,
// the rest to itself.
type node struct {
	kind     FileKind
	children map[string]*node
	link     string
	nlink    int
	denied   bool // answers lstat and nothing else, as PhotoData/UBF does
	birth    int64
	mtime    atomic.Int64
	data     *content // of a Regular
}

// NewFS makes an empty tree on a volume of total bytes of its own. A nil
// clock is time.Now.
func NewFS(clock func() time.Time, total uint64) *FS {
	if clock == nil {
		clock = time.Now
	}
	return New(clock, NewVolume(total, 0), nil)
}

// New makes a tree on a volume that build, if not nil, fills at its first use.
func New(clock func() time.Time, vol *Volume, build func(*FS)) *FS {
	f := &FS{clock: clock, vol: vol, build: build}
	f.root = f.newNode(Directory, clock().UnixNano())
	return f
}

func (f *FS) newNode(kind FileKind, when int64) *node {
	n := &node{kind: kind, nlink: 1, birth: when}
	n.mtime.Store(when)
	switch kind {
	case Directory:
		n.children = map[string]*node{}
	case Regular:
		n.data = &content{}
	}
	return n
}

func (f *FS) ready() {
	if f.build != nil {
		f.once.Do(func() { f.build(f) })
	}
}

// splitPath cuts a path into components without "" and ".".
func splitPath(path string) ([]string, error) {
	if len(path) > MaxPath || strings.IndexByte(path, 0) >= 0 {
		return nil, ErrInvalid
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "" || part == ".":
		case len(part) > maxName:
			return nil, ErrInvalid
		default:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// place is the outcome of a look-up: the directory, the name in it and the
// node, nil if the directory has no such name. Of the root, dir is nil.
type place struct {
	dir  *node
	name string
	node *node
}

// walk looks a path up. A symbolic link at the end is followed if follow is
// set, those before the end always. The caller holds mu.
func (f *FS) walk(path string, follow bool) (place, error) {
	parts, err := splitPath(path)
	if err != nil {
		return place{}, err
	}
	trail := []place{{node: f.root}} // the way from the root, root first
	links := 0
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		dir := trail[len(trail)-1].node
		switch {
		case dir.kind != Directory:
			return place{}, ErrNotDir
		case part == "..":
			if len(trail) == 1 {
				return place{}, fs.ErrPermission
			}
			trail = trail[:len(trail)-1]
			continue
		case dir.denied:
			return place{}, fs.ErrPermission
		}
		child := dir.children[part]
		if child == nil {
			if len(parts) > 0 {
				return place{}, fs.ErrNotExist
			}
			return place{dir: dir, name: part}, nil
		}
		if child.kind == Symlink && (follow || len(parts) > 0) {
			if links++; links > maxSymlinks {
				return place{}, ErrInvalid
			}
			target, err := splitPath(child.link)
			if err != nil {
				return place{}, err
			}
			if strings.HasPrefix(child.link, "/") {
				trail = trail[:1]
			}
			parts = append(target, parts...)
			continue
		}
		trail = append(trail, place{dir: dir, name: part, node: child})
	}
	return trail[len(trail)-1], nil
}

// find is walk for something that must exist.
func (f *FS) find(path string, follow bool) (place, error) {
	at, err := f.walk(path, follow)
	if err == nil && at.node == nil {
		err = fs.ErrNotExist
	}
	return at, err
}

func (f *FS) touch(n *node) { n.mtime.Store(f.clock().UnixNano()) }

// Stat describes a path without following a symbolic link at its end.
func (f *FS) Stat(path string) (Info, error) {
	f.ready()
	f.mu.RLock()
	defer f.mu.RUnlock()
	at, err := f.find(path, false)
	if err != nil {
		return Info{}, failure.Wrap("stat", path, err)
	}
	return at.node.info(), nil
}

func (n *node) info() Info {
	i := Info{Kind: n.kind, Nlink: n.nlink,
		ModTime: time.Unix(0, n.mtime.Load()), BirthTime: time.Unix(0, n.birth)}
	switch n.kind {
	case Directory:
		// APFS says 32 bytes a link and no blocks.
		i.Nlink = len(n.children) + 2
		i.Size = int64(i.Nlink) * 32
	case Symlink:
		i.LinkTarget, i.Size = n.link, int64(len(n.link))
	case Regular:
		i.Size = n.data.length()
		i.Blocks = occupied(i.Size) / 512
	}
	return i
}

// ReadDir lists the names of a directory, sorted, without "." and "..".
func (f *FS) ReadDir(path string) ([]string, error) {
	f.ready()
	f.mu.RLock()
	defer f.mu.RUnlock()
	at, err := f.find(path, true)
	switch {
	case err != nil:
		return nil, failure.Wrap("read directory", path, err)
	case at.node.kind != Directory:
		return nil, failure.Wrap("read directory", path, ErrNotDir)
	case at.node.denied:
		return nil, failure.Wrap("read directory", path, fs.ErrPermission)
	}
	return slices.Sorted(maps.Keys(at.node.children)), nil
}

// Usage says how large the volume is, how much of it is free, and its block
// size.
func (f *FS) Usage() (total, free uint64, block uint32) {
	return f.vol.total, f.vol.Free(), BlockSize
}

// WriteFile replaces or makes a file.
func (f *FS) WriteFile(path string, b []byte) error {
	h, err := f.Open(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer h.Close()
	_, err = h.WriteAt(b, 0)
	return err
}

// maxReadFile bounds ReadFile: a host can make a sparse file of any size for
// nothing.
const maxReadFile = 1 << 30

// ReadFile returns the content of a file. One above 1 GiB is ErrInvalid;
// Open reads it in pieces.
func (f *FS) ReadFile(path string) ([]byte, error) {
	h, err := f.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	size := h.Size()
	if size > maxReadFile {
		return nil, failure.Wrap("read", path, ErrInvalid)
	}
	b := make([]byte, size)
	n, err := h.ReadAt(b, 0)
	if err != nil && n < len(b) {
		// The file shrank between the two calls.
		b = b[:n]
	}
	return b, nil
}
