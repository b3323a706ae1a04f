package afc

import (
	"bytes"
	"io"
	"runtime"
	"testing"
	"unsafe"
)

// collector records the buffers of a transfer.
type collector struct {
	r    io.Reader // source of a push
	seen map[*byte]bool
}

func (c *collector) look(p []byte) { c.seen[unsafe.SliceData(p)] = true }

// emptyPools empties the pools, as the garbage collector does in a busy program.
func emptyPools() error {
	runtime.GC()
	runtime.GC() // pools keep their content during the first collection
	return nil
}

func (c *collector) Read(p []byte) (int, error) {
	c.look(p)
	return c.r.Read(p)
}

func (c *collector) Write(p []byte) (int, error) {
	c.look(p)
	return len(p), nil
}

// TestTransfersKeepBuffers checks that the number of buffers of a transfer does not
// depend on its length, even if the pools are emptied in the meantime. The map keeps
// all buffers alive, so that no address is used again.
func TestTransfersKeepBuffers(t *testing.T) {
	c := pair(t, newFS())
	content := make([]byte, 12*defaultPiece)
	push := &collector{r: bytes.NewReader(content), seen: map[*byte]bool{}}
	if _, err := c.Push(t.Context(), push, "/big", Transfer{stop: emptyPools}); err != nil {
		t.Fatal(err)
	}
	if n := len(push.seen); n != 1 {
		t.Errorf("Push read into %d buffers, want 1", n)
	}
	pull := &collector{seen: map[*byte]bool{}}
	if _, err := c.Pull(t.Context(), "/big", pull, Transfer{stop: emptyPools}); err != nil {
		t.Fatal(err)
	}
	if n := len(pull.seen); n > defaultInFlight+1 {
		t.Errorf("Pull wrote from %d buffers, want at most %d", n, defaultInFlight+1)
	}
}
