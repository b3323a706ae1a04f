package afc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// maxPath bounds the length of a path. Devices refuse much shorter ones.
const maxPath = 16 << 10

// pathArgs encodes numbers and paths. It refuses a path that the protocol cannot
// transmit, because the device would receive a different path.
func pathArgs(op string, numbers []uint64, paths ...string) ([]byte, error) {
	b := numberArgs(numbers...)
	for _, p := range paths {
		if len(p) > maxPath || strings.IndexByte(p, 0) >= 0 {
			return nil, &Error{Op: op, Path: p, Err: fs.ErrInvalid}
		}
		b = appendPath(b, p)
	}
	return b, nil
}

func numberArgs(numbers ...uint64) []byte {
	b := make([]byte, 0, 64)
	for _, v := range numbers {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// status performs an operation that is answered with a status.
func (c *Client) status(
	ctx context.Context, op string, code Opcode, numbers []uint64, paths ...string,
) error {
	args, err := pathArgs(op, numbers, paths...)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, op, paths[0], request{op: code, args: args, want: opStatus})
	return err
}

// data performs an operation that is answered with data.
func (c *Client) data(
	ctx context.Context, op string, code Opcode, paths ...string,
) ([]byte, error) {
	args, err := pathArgs(op, nil, paths...)
	if err != nil {
		return nil, err
	}
	r := request{op: code, args: args, want: opData}
	if code == opReadDir {
		r.most = maxReply
	}
	k, err := c.do(ctx, op, strings.Join(paths, ""), r)
	if err != nil {
		return nil, err
	}
	return k.data, nil
}

// ReadDir returns the names in a directory, sorted, without "." and "..". The error
// matches ErrTooLarge if there are more than MaxEntries.
func (c *Client) ReadDir(ctx context.Context, dir string) ([]string, error) {
	b, err := c.data(ctx, "read directory", opReadDir, dir)
	if err != nil {
		return nil, err
	}
	list, err := names(b)
	if err != nil {
		return nil, fail("read directory", dir, err)
	}
	list = slices.DeleteFunc(list, func(s string) bool {
		return s == "" || s == "." || s == ".."
	})
	slices.Sort(list)
	return list, nil
}

// Stat describes a file. For a symbolic link it describes the link itself.
func (c *Client) Stat(ctx context.Context, file string) (Info, error) {
	k, err := c.startStat(ctx, file)
	if err != nil {
		return Info{}, err
	}
	return c.endStat(ctx, file, k)
}

func (c *Client) startStat(ctx context.Context, file string) (*call, error) {
	args, err := pathArgs("stat", nil, file)
	if err != nil {
		return nil, err
	}
	k, err := c.start(ctx, request{op: opGetFileInfo, args: args, want: opData})
	return k, fail("stat", file, err)
}

func (c *Client) endStat(ctx context.Context, file string, k *call) (Info, error) {
	if err := c.result(ctx, "stat", file, k); err != nil {
		return Info{}, err
	}
	i, err := decodeInfo(k.data)
	if err != nil {
		return Info{}, fail("stat", file, err)
	}
	i.Name = path.Base(path.Join("/", file))
	return i, nil
}

// Mkdir creates a directory and its missing parents. It returns nil if the directory
// exists.
func (c *Client) Mkdir(ctx context.Context, dir string) error {
	return c.status(ctx, "make directory", opMakeDir, nil, dir)
}

// Remove removes a file, a symbolic link or an empty directory.
func (c *Client) Remove(ctx context.Context, file string) error {
	return c.status(ctx, "remove", opRemove, nil, file)
}

// RemoveAll removes a file, or a directory with everything below it. The error matches
// fs.ErrNotExist if the path does not exist.
func (c *Client) RemoveAll(ctx context.Context, file string) error {
	const op = "remove all"
	err := c.status(ctx, op, opRemoveAll, nil, file)
	if !errors.Is(err, NotSupported) && !errors.Is(err, UnknownPacketType) {
		return err
	}
	return c.removeTree(ctx, file, &trail{})
}

// removeTree implements RemoveAll for devices before iOS 6.
func (c *Client) removeTree(ctx context.Context, file string, t *trail) error {
	info, err := c.Stat(ctx, file)
	if err != nil {
		return err
	}
	if info.Kind == Directory {
		names, err := c.ReadDir(ctx, file)
		if err != nil {
			return err
		}
		if err := t.enter("remove all", file, len(names)); err != nil {
			return err
		}
		defer t.leave()
		for _, name := range names {
			child, err := childPath("remove all", file, name)
			if err != nil {
				return err
			}
			if err := c.removeTree(ctx, child, t); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return c.Remove(ctx, file)
}

// ErrName is the cause if a listing contains a name that would refer to a file outside
// of the directory.
const ErrName = protocolError("unsafe file name")

// childPath joins a directory and a name from its listing.
func childPath(op, dir, name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", &Error{Op: op, Path: dir, Err: fmt.Errorf("%w %q", ErrName, name)}
	}
	return path.Join(dir, name), nil
}

// Rename moves a file or a directory. It replaces a file at the target.
func (c *Client) Rename(ctx context.Context, from, to string) error {
	return c.status(ctx, "rename", opRename, nil, from, to)
}

// Symlink creates the symbolic link link with the given target. The target is not
// checked.
func (c *Client) Symlink(ctx context.Context, target, link string) error {
	return c.makeLink(ctx, "symlink", linkSym, target, link)
}

// Link creates link as another name of the file target.
func (c *Client) Link(ctx context.Context, target, link string) error {
	return c.makeLink(ctx, "link", linkHard, target, link)
}

func (c *Client) makeLink(ctx context.Context, op string, kind uint64, target, link string) error {
	args, err := pathArgs(op, []uint64{kind}, target, link)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, op, link, request{op: opMakeLink, args: args, want: opStatus})
	return err
}

// Truncate sets the size of a file.
func (c *Client) Truncate(ctx context.Context, file string, size int64) error {
	if size < 0 {
		return fail("truncate", file, fs.ErrInvalid)
	}
	return c.status(ctx, "truncate", opTruncate, []uint64{uint64(size)}, file)
}

// SetModTime sets the modification time of a file. The protocol has no times before
// 1970.
func (c *Client) SetModTime(ctx context.Context, file string, t time.Time) error {
	ns := t.UnixNano()
	if ns < 0 {
		return fail("set time", file, fs.ErrInvalid)
	}
	return c.status(ctx, "set time", opSetModTime, []uint64{uint64(ns)}, file)
}

// DeviceInfo returns the model and the size and free space of the volume.
func (c *Client) DeviceInfo(ctx context.Context) (DeviceInfo, error) {
	b, err := c.data(ctx, "device info", opGetDeviceInfo)
	if err != nil {
		return DeviceInfo{}, err
	}
	i, err := decodeDeviceInfo(b)
	return i, fail("device info", "", err)
}

// ConnectionInfo returns what the device reports about the connection, such as Version.
func (c *Client) ConnectionInfo(ctx context.Context) (map[string]string, error) {
	b, err := c.data(ctx, "connection info", opConnectionInfo)
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	err = decodeKeys(b, func(key, value string) error {
		m[key] = value
		return nil
	})
	if err != nil {
		return nil, fail("connection info", "", err)
	}
	return m, nil
}

// Hash returns the SHA-1 hash of the content of a file, computed by the device.
func (c *Client) Hash(ctx context.Context, file string) ([]byte, error) {
	return c.data(ctx, "hash", opHash, file)
}
