package ostracerelay

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestArchiveSilent uses devices that stop sending before the reply, after it, and
// inside the archive.
func TestArchiveSilent(t *testing.T) {
	t.Parallel()
	ok, err := plist.Encode(plist.Dict{"Status": statusOK}, plist.Binary)
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte{1, 0, 0, 0, byte(len(ok))}, ok...)
	for name, sent := range map[string][]byte{
		"no reply": nil, "no archive": head,
		"half a piece": append(head[:len(head):len(head)], 3, 9, 0, 0, 0, 'x'),
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := linktest.Prompt()
			defer b.Close()
			go func() { _, _ = io.Copy(io.Discard, b) }()
			go func() { _, _ = b.Write(sent) }()
			c := New(a)
			defer c.Close()
			begun := time.Now()
			_, err := c.CreateArchive(context.Background(), io.Discard,
				ArchiveOptions{Idle: 5 * time.Second})
			var silent *link.SilentError
			if !errors.As(err, &silent) {
				t.Fatalf("%s: %v, want a *link.SilentError", name, err)
			}
			if silent.For != 5*time.Second {
				t.Errorf("%s: silent for %v, want 5s", name, silent.For)
			}
			if took := time.Since(begun); took != 5*time.Second {
				t.Errorf("%s: it took %v, want 5s", name, took)
			}
		})
	}
}
