// Package files is the storage of the simulated phone: file trees in memory, and the
// volume that they share. It knows nothing about phones; package phone fills the trees.
package files

import (
	"cmp"
	"hash/crc32"
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

// BlockSize is the unit in which files take space on the volume. MaxPath is the length of
// the longest path in bytes, PATH_MAX on iOS.
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

// FileKind is the kind of a file.
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

// Info describes a file, as lstat does.
type Info struct {
	Size, Blocks       int64 // bytes, and blocks of 512 bytes
	Nlink              int   // of a directory: entries and two
	Kind               FileKind
	ModTime, BirthTime time.Time
	LinkTarget         string // of a Symlink
}

// Volume is the flash storage that the file trees of a phone share. The space that
// it begins with as used includes the contents of a new phone. So building a tree
// takes no space, and the free space does not depend on which trees were built.
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

// Reserve takes delta bytes, or gives them back if delta is negative. It returns
// ErrNoSpace if there is no room.
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

// FS is a file tree in memory. Paths use slashes and are relative to the root of
// the tree: "/x", "x" and "./x" are the same. A path that leaves the root with ".."
// gives fs.ErrPermission. Absolute symbolic links begin at the root. All methods
// may be called concurrently.
type FS struct {
	clock func() time.Time
	vol   *Volume

	once  sync.Once
	build func(*FS) // fills the tree at its first use

	mu   sync.RWMutex
	root *node
}

// node is a file of any kind. FS.mu guards children, link, nlink and denied.
type node struct {
	kind     FileKind
	children map[string]*node
	link     string
	nlink    int
	denied   bool // only lstat works, as with PhotoData/UBF
	birth    int64
	mtime    atomic.Int64
	data     *content // of a Regular
}

// NewFS makes an empty tree with a volume of its own of total bytes. A nil clock
// means time.Now.
func NewFS(clock func() time.Time, total uint64) *FS {
	if clock == nil {
		clock = time.Now
	}
	return New(clock, NewVolume(total, 0), nil)
}

// New makes a tree on a volume. If build is not nil, it fills the tree at its first
// use.
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

// splitPath splits a path into its components, without "" and ".".
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

// place is the result of a look-up: the directory, the name in it and the node. node
// is nil if the directory has no such name. dir is nil if the node is the root.
type place struct {
	dir  *node
	name string
	node *node
}

// walk looks up a path. It follows symbolic links, but one at the end of the path
// only if follow is set. The caller holds mu.
func (f *FS) walk(path string, follow bool) (place, error) {
	parts, err := splitPath(path)
	if err != nil {
		return place{}, err
	}
	trail := []place{{node: f.root}} // the nodes from the root on
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
			links++
			if links > maxSymlinks {
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

// find is like walk, but returns fs.ErrNotExist if there is no node.
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
		// APFS reports 32 bytes for each link and no blocks.
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
	names, err := f.list(path)
	slices.Sort(names)
	return names, err
}

// ListDir lists the same names as ReadDir in the order of the file system. As on APFS, which
// keeps the entries of a directory by the hash of their names, it is always the same and looks
// like no order.
func (f *FS) ListDir(path string) ([]string, error) {
	names, err := f.list(path)
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(nameHash(a), nameHash(b)), strings.Compare(a, b))
	})
	return names, err
}

// nameHash is the hash by which APFS orders names: the lower 22 bits of a CRC-32C.
func nameHash(name string) uint32 {
	return crc32.Checksum([]byte(name), castagnoli) & (1<<22 - 1)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// list lists the names of a directory in random order.
func (f *FS) list(path string) ([]string, error) {
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
	return slices.Collect(maps.Keys(at.node.children)), nil
}

// Usage returns the size of the volume, its free space and its block size, in
// bytes.
func (f *FS) Usage() (total, free uint64, block uint32) {
	return f.vol.total, f.vol.Free(), BlockSize
}

// WriteFile writes b to a file and replaces one that exists.
func (f *FS) WriteFile(path string, b []byte) error {
	h, err := f.Open(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer h.Close()
	_, err = h.WriteAt(b, 0)
	return err
}

// maxReadFile bounds ReadFile, because a host can make a sparse file of any size at
// no cost.
const maxReadFile = 1 << 30

// ReadFile returns the content of a file. The error is ErrInvalid if the file is
// larger than 1 GiB; such a file can be opened and read in pieces.
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
