package afc

import (
	"bytes"
	"fmt"
	"path"

	"github.com/imdlua/imdlua/runtime/link"
)

// Limits on the data that one call accepts from a device. Real devices stay far below
// them.
const (
	// MaxEntries bounds the entries of a listing, and of all listings of a walk, a glob
	// or a copy.
	MaxEntries = 1_000_000
	// MaxDepth bounds the depth of a tree. A path on a device has at most 1024 bytes.
	MaxDepth = 512
	// MaxFile bounds the size that a device may report for a file.
	MaxFile = 1 << 44
	// MaxWhole bounds the size of a file that is read into memory at once.
	MaxWhole = 256 << 20
	// MaxGrowth bounds how much a file may grow while it is copied.
	MaxGrowth = 1 << 30

	// maxInfo bounds an answer that is neither a listing nor the content of a file.
	maxInfo = 64 << 10
)

// ErrTooLarge matches every LimitError.
var ErrTooLarge = link.ErrTooLarge

// LimitError is the cause if a device sends more than a limit of this package allows.
type LimitError struct {
	What  string // "entries", "directories inside each other", "bytes"
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("more than the limit of %d %s", e.Limit, e.What)
}

// Is reports whether target is ErrTooLarge.
func (e *LimitError) Is(target error) bool { return target == ErrTooLarge }

// names decodes a listing.
func names(b []byte) ([]string, error) {
	if bytes.Count(b, []byte{0}) > MaxEntries {
		return nil, &LimitError{"entries", MaxEntries}
	}
	return splitNames(b), nil
}

// trail counts the entries and the depth of the tree that one call visits.
type trail struct{ entries, depth int }

// enter counts the entries of a directory. The caller calls leave after it has visited
// them.
func (t *trail) enter(op, dir string, entries int) error {
	t.depth++
	t.entries += entries
	switch {
	case t.depth > MaxDepth:
		// The last element is enough to report for a path of this length.
		return fail(op, path.Base(dir), &LimitError{"directories inside each other", MaxDepth})
	case t.entries > MaxEntries:
		return fail(op, dir, &LimitError{"entries", MaxEntries})
	}
	return nil
}

func (t *trail) leave() { t.depth-- }
