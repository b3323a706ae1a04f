package afc

import (
	"github.com/imdlua/imdlua/runtime/phone/files"

	"cmp"
	"crypto/sha1"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"time"
)

// path resolves the path of a request against Within. If entry is true, the operation
// concerns the name itself and not the target of a symbolic link, and it may remove the
// name.
func (s *session) path(p string, entry bool) (string, error) {
	if s.d.Within == "" {
		return p, nil
	}
	r, err := s.d.resolve(p, !entry)
	if err != nil {
		return "", err
	}
	within := path.Join("/", s.d.Within)
	if r != within && !strings.HasPrefix(r, within+"/") {
		return "", PermissionDenied
	}
	return r, nil
}

// maxLinks bounds the number of symbolic links that one look-up follows.
const maxLinks = 32

// resolve follows the symbolic links of a path, to detect a path inside Within that
// refers to a file outside of it. Elements that do not exist are kept as they are.
func (d *Device) resolve(p string, follow bool) (string, error) {
	done, todo := "/", p
	for links := 0; todo != ""; {
		var name string
		name, todo, _ = strings.Cut(todo, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if done == "/" {
				return "", PermissionDenied
			}
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, name)
		info, err := d.FS.Stat(next)
		if err != nil || info.Kind != files.Symlink || strings.Trim(todo, "/.") == "" && !follow {
			done = next
			continue
		}
		links++
		if links > maxLinks {
			return "", InvalidArgument
		}
		if strings.HasPrefix(info.LinkTarget, "/") {
			done = "/"
		}
		todo = info.LinkTarget + "/" + todo
	}
	return done, nil
}

// onePath reads a path that follows n numbers.
func (s *session) onePath(n int, entry bool) ([3]uint64, string, error) {
	v, rest, err := s.u64s(n)
	if err != nil {
		return v, "", err
	}
	p, _ := cutPath(rest)
	p, err = s.path(p, entry)
	return v, p, err
}

// query performs the operations that are answered with data.
func (s *session) query(op Opcode) ([]byte, error) {
	switch op {
	case opGetDeviceInfo:
		total, free, block := s.d.FS.Usage()
		return appendDeviceInfo(nil, DeviceInfo{s.d.Model, total, free, uint64(block)}), nil
	case opConnectionInfo:
		return appendNames(nil, "Version", "1", "ExtendedStatus", "1"), nil
	case opDirRead:
		return s.readDirRef()
	case opHashRange:
		v, p, err := s.onePath(2, false)
		if err != nil {
			return nil, err
		}
		return s.hash(p, v[0], v[1])
	}
	_, p, err := s.onePath(0, op == opGetFileInfo)
	if err != nil {
		return nil, err
	}
	switch op {
	case opReadDir:
		return s.listing(p)
	case opGetFileInfo:
		info, err := s.d.FS.Stat(p)
		if err != nil {
			return nil, err
		}
		return appendInfo(nil, fileInfo(info)), nil
	case opHash:
		return s.hash(p, 0, math.MaxInt64)
	}
	return s.sizeOfContents(p)
}

func fileInfo(i files.Info) Info {
	kinds := [...]Kind{files.Regular: Regular, files.Directory: Directory, files.Symlink: Symlink}
	return Info{Size: i.Size, Blocks: i.Blocks, Nlink: i.Nlink, Kind: kinds[i.Kind],
		ModTime: i.ModTime, BirthTime: i.BirthTime, LinkTarget: i.LinkTarget}
}

// listing returns the names in a directory, which devices do not sort. "." and ".." must come
// first, because pymobiledevice3 drops the first two names without looking at them.
func (s *session) listing(p string) ([]byte, error) {
	names, err := s.d.FS.ListDir(p)
	if err != nil {
		return nil, err
	}
	return appendNames(appendNames(nil, ".", ".."), names...), nil
}

func (s *session) hash(p string, off, n uint64) ([]byte, error) {
	f, err := s.d.FS.Open(p, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if off > math.MaxInt64 {
		return nil, InvalidArgument
	}
	b := newPiece(chunk)
	defer freePiece(b)
	h := sha1.New()
	for at := int64(off); n > 0; {
		if s.ctx.Err() != nil {
			return nil, OperationInterrupt
		}
		m, err := f.ReadAt((*b)[:min(uint64(len(*b)), n)], at)
		h.Write((*b)[:m])
		at += int64(m)
		n -= uint64(m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

// sizeOfContents adds up the sizes in a tree. No known client sends this request. The
// keys of the answer are those of GetFileInfo.
func (s *session) sizeOfContents(p string) ([]byte, error) {
	var sum Info
	var add func(p string) error
	add = func(p string) error {
		info, err := s.d.FS.Stat(p)
		if err != nil {
			return err
		}
		sum.Size += info.Size
		sum.Blocks += info.Blocks
		sum.Kind = fileInfo(info).Kind
		if info.Kind != files.Directory {
			return nil
		}
		names, err := s.d.FS.ReadDir(p)
		if err != nil {
			return err
		}
		for _, name := range names {
			err := add(path.Join(p, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				return err
			}
		}
		return nil
	}
	if err := add(cmp.Or(p, "/")); err != nil {
		return nil, err
	}
	return appendNames(nil, "st_size", formatInt(sum.Size), "st_blocks", formatInt(sum.Blocks)), nil
}

// change performs the operations on paths that are answered with a status.
func (s *session) change(op Opcode) error {
	switch op {
	case opRename:
		return s.rename()
	case opMakeLink:
		return s.makeLink()
	case opTruncate:
		v, p, err := s.onePath(1, false)
		if err != nil {
			return err
		}
		if v[0] > math.MaxInt64 {
			return InvalidArgument
		}
		return s.d.FS.Truncate(p, int64(v[0]))
	case opSetModTime:
		v, p, err := s.onePath(1, false)
		if err != nil {
			return err
		}
		if v[0] > math.MaxInt64 {
			return InvalidArgument
		}
		return s.d.FS.Chtimes(p, time.Unix(0, int64(v[0])))
	case opMakeDir:
		_, p, err := s.onePath(0, false)
		if err != nil {
			return err
		}
		return s.d.FS.Mkdir(p)
	case opRemove, opRemoveAll:
		_, p, err := s.onePath(0, true)
		if err != nil {
			return err
		}
		if err := s.notRoot(p); err != nil {
			return err
		}
		if op == opRemove {
			return s.d.FS.Remove(p)
		}
		return s.d.FS.RemoveAll(p)
	}
	return NotSupported
}

// notRoot refuses to remove the directory to which a client is confined.
func (s *session) notRoot(p string) error {
	if s.d.Within != "" && p == path.Join("/", s.d.Within) {
		return PermissionDenied
	}
	return nil
}

func (s *session) rename() error {
	from, rest := cutPath(s.args)
	to, _ := cutPath(rest)
	from, err := s.path(from, true)
	if err != nil {
		return err
	}
	to, err = s.path(to, true)
	if err != nil {
		return err
	}
	if err := cmp.Or(s.notRoot(from), s.notRoot(to)); err != nil {
		return err
	}
	return s.d.FS.Rename(from, to)
}

func (s *session) makeLink() error {
	v, rest, err := s.u64s(1)
	if err != nil {
		return err
	}
	target, rest := cutPath(rest)
	name, _ := cutPath(rest)
	name, err = s.path(name, true)
	if err != nil {
		return err
	}
	switch v[0] {
	case linkSym:
		return s.d.FS.Symlink(target, name)
	case linkHard:
		target, err = s.path(target, true)
		if err != nil {
			return err
		}
		return s.d.FS.Link(target, name)
	}
	return InvalidArgument
}
