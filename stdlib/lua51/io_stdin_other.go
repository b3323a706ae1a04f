//go:build !unix

package lua51

import (
	"context"
	"io"
)

// awaitInput does not wait: the system cannot say whether there is something to read.
func awaitInput(context.Context, io.Reader) error { return nil }
