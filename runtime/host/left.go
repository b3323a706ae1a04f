package host

import (
	"fmt"
	"strings"
)

// Left describes what a host that runs nothing still holds: waits, tasks, open entries
// of scopes, threads that are in use. It returns "" if it holds nothing. It is for tests
// outside of this package.
func (h *Host) Left() string {
	var b strings.Builder
	h.mu.Lock()
	defer h.mu.Unlock()
	for t, w := range h.waits {
		fmt.Fprintf(&b, "%s waits in %s\n", t.name, w.what)
	}
	for _, t := range h.live {
		if t != h.main {
			fmt.Fprintf(&b, "%s is live\n", t.name)
		}
	}
	h.scopes.Lock()
	defer h.scopes.Unlock()
	for _, t := range append(h.live, h.main, h.setup) {
		if t == nil {
			continue
		}
		if t.depth != 0 || t.deadlines != 0 || t.noSwitch != 0 {
			fmt.Fprintf(&b, "%s: depth %d, deadlines %d, noSwitch %d\n",
				t.name, t.depth, t.deadlines, t.noSwitch)
		}
		for _, e := range t.root.items {
			if e.scope == t.root && !e.gone {
				fmt.Fprintf(&b, "%s has an open entry\n", t.name)
			}
		}
		if t.scope != t.root {
			fmt.Fprintf(&b, "%s is in an inner scope\n", t.name)
		}
	}
	return b.String()
}
