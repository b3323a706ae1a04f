// Package savefile writes content from elsewhere to files of this computer. A file gets
// its final name only when it is complete. Names that a system cannot write are
// replaced by names that it can write. The package also writes the files that only their
// owner may read.
package savefile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options say how a file is written. The zero value is ready to use.
type Options struct {
	// Perm are the permissions of a new file before umask; 0 means 0666.
	Perm fs.FileMode
	// ModTime is the modification time of the file. The zero value means the time of
	// writing.
	ModTime time.Time
}

// In writes a file below root. write fills a new file in the same directory, which then
// replaces name. The new file has the permissions of a regular file that it replaces. A
// link is replaced and not followed. If name is a directory, the error matches
// fs.ErrExist. After an error nothing has changed.
func In(root *os.Root, name string, o Options, write func(*os.File) error) (err error) {
	mode, err := modeOf(root, name)
	if err != nil {
		return err
	}
	if o.Perm == 0 {
		o.Perm = 0o666
	}
	temp := filepath.Join(filepath.Dir(name), Temporary())
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, o.Perm)
	if err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: cause(err)}
	}
	done := false
	defer func() {
		if !done { // write has failed or panicked
			err = errors.Join(err, ignore(f.Close(), os.ErrClosed), root.Remove(temp))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if !o.ModTime.IsZero() {
		if err := root.Chtimes(temp, time.Time{}, o.ModTime); err != nil {
			return err
		}
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	done = true
	return nil
}

// File is In for a path on this computer.
func File(path string, o Options, write func(*os.File) error) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return In(root, filepath.Base(path), o, write)
}

// Temporary returns a name for a file that is being written. It is short, so that it
// can be used in the same directory as the longest names.
func Temporary() string { return temporary + rand.Text()[:temporaryText] }

const (
	temporary     = ".imdlua-"
	temporaryText = 16 // characters of base32
)

// IsTemporary reports whether a name has the form of Temporary.
func IsTemporary(name string) bool {
	text, ok := strings.CutPrefix(name, temporary)
	if !ok || len(text) != temporaryText {
		return false
	}
	return strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// modeOf returns the permissions of the regular file that is to be replaced, or 0 if
// there is none.
func modeOf(root *os.Root, name string) (fs.FileMode, error) {
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case info.IsDir():
		return 0, fmt.Errorf("%s: %w and is a directory", name, fs.ErrExist)
	case info.Mode().IsRegular():
		return info.Mode().Perm(), nil
	}
	return 0, nil
}

// cause removes the name of the temporary file from an error.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
