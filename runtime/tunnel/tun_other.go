//go:build !linux

package tunnel

import (
	"errors"
	"fmt"
	"runtime"
)

func newKernel(terms) (end, error) {
	return nil, fmt.Errorf("interface of %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
