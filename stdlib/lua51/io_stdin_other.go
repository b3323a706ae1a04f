//go:build !unix

package lua51

import (
	"context"
	"io"
)

// awaitInput does not wait, because the system cannot report whether there is something to read.
func awaitInput(context.Context, io.Reader) error { return nil }
