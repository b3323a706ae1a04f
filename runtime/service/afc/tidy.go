package afc

import (
	"context"
	"path"
	"time"

	"github.com/imdlua/imdlua/runtime/savefile"
)

const (
	// lostAge is the age from which no push can still be writing to a temporary file,
	// even one of another host. The device's clock counts.
	lostAge = time.Hour
	// maxTidied bounds the directories that a connection remembers. maxLost bounds the
	// files that it removes from one directory.
	maxTidied = 4096
	maxLost   = 64
)

// tidy removes the temporary files that interrupted pushes left in the directory of a
// file that was just pushed. It looks into each directory once per connection. It
// ignores its own errors, because the push has succeeded.
func (c *Client) tidy(ctx context.Context, remote string) {
	dir := path.Dir(remote)
	if !c.firstIn(dir) {
		return
	}
	names, err := c.ReadDir(ctx, dir)
	if err != nil {
		return
	}
	var lost []string
	for _, name := range names {
		if savefile.IsTemporary(name) && len(lost) < maxLost {
			lost = append(lost, path.Join(dir, name))
		}
	}
	if len(lost) == 0 {
		return
	}
	now, err := c.Stat(ctx, remote)
	if err != nil {
		return
	}
	for _, file := range lost {
		info, err := c.Stat(ctx, file)
		old := now.ModTime.Sub(info.ModTime) > lostAge
		if err == nil && info.Kind == Regular && info.Odd == nil && old {
			_ = c.Remove(ctx, file)
		}
	}
}

// firstIn reports whether it is called for the directory for the first time.
func (c *Client) firstIn(dir string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tidied[dir] || len(c.tidied) >= maxTidied {
		return false
	}
	c.tidied[dir] = true
	return true
}
