package files

import "time"

// What the builders of a new phone's trees use. They run inside the once of
// the tree, charge nothing (the profile's used space counts them already),
// and cannot meet anything that exists.

// Epoch is when a phone got its first contents. It is fixed, so that the trees of two
// phones are the same.
var Epoch = time.Date(2024, time.June, 3, 7, 41, 0, 0, time.UTC)

// Seed makes directories.
func (f *FS) Seed(dirs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range dirs {
		f.must(d, f.mkdir(d, Epoch.UnixNano()))
	}
}

// Put makes a file and its parents; hours are counted from Epoch.
func (f *FS) Put(path string, hours int, src Source) {
	f.PutAt(path, Epoch.Add(time.Duration(hours)*time.Hour), src)
}

// PutAt makes a file of that time and its parents.
func (f *FS) PutAt(path string, modified time.Time, src Source) {
	f.must(path, f.addSource(path, src, modified))
}

// Deny makes a directory that answers lstat and nothing else.
func (f *FS) Deny(dir string) {
	f.Seed(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.find(dir, false)
	f.must(dir, err)
	at.node.denied = true
}

// must catches a mistake in the tables of contents.
func (f *FS) must(path string, err error) {
	if err != nil {
		panic("phone: contents " + path + ": " + err.Error())
	}
}

// ContentSize is the size of all files.
func (f *FS) ContentSize() uint64 {
	f.ready()
	f.mu.RLock()
	defer f.mu.RUnlock()
	var total uint64
	var visit func(*node)
	visit = func(n *node) {
		if n.kind == Regular {
			total += uint64(n.data.length())
		}
		for _, c := range n.children {
			visit(c)
		}
	}
	visit(f.root)
	return total
}

// Clear removes everything.
func (f *FS) Clear() {
	f.ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.root.children {
		delete(f.root.children, name)
		f.drop(n)
	}
}
