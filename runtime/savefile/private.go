package savefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Private writes a file that only its owner can read, such as a pair record. The
// directory is created for its owner alone if it does not exist. The file replaces one of
// the same name, whatever its permissions are. A link is replaced and not followed. A
// reader never sees half of a file, and a full disk does not destroy the old one.
func Private(path string, content []byte) error {
	return private(path, content, os.Rename)
}

// NewPrivate is like Private, but fails with fs.ErrExist if there is a file of that name.
// If several programs write the same name at once, one of them succeeds.
func NewPrivate(path string, content []byte) error {
	return private(path, content, func(temp, path string) error {
		// Unlike a rename, a link fails for the second program.
		err := os.Link(temp, path)
		if err == nil {
			return os.Remove(temp)
		}
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Rename(temp, path) // for file systems without links
	})
}

// private writes a temporary file, which place gives its name.
func private(path string, content []byte, place func(temp, path string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary+"*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = place(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
