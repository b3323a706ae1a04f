package afc

import (
	"context"
	"path"
	"time"

	"github.com/imdlua/imdlua/runtime/savefile"
)

const (
	// lostAge is how long ago a temporary file was written to last that no push
	// can be writing to any more, whoever's it is. Clocks are the device's.
	lostAge = time.Hour
	// maxTidied bounds the folders that a connection remembers, maxLost the files
	// that it removes from one.
	maxTidied = 4096
	maxLost   = 64
)

// tidy removes what lost pushes have left in the folder of a file that was just pushed.
// It looks into a folder once a connection. Its own failures are nobody's concern: the
// push has succeeded.
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

// firstIn reports whether nobody has asked for the folder yet.
func (c *Client) firstIn(dir string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tidied[dir] || len(c.tidied) >= maxTidied {
		return false
	}
	c.tidied[dir] = true
	return true
}
