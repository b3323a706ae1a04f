package files

import "time"

// The functions below fill the trees of a new phone. They take no space on the volume,
// since the used space of the profile includes these files.

// Epoch is the time at which a phone got its first contents. It is fixed, so that the
// trees of two phones are the same.
var Epoch = time.Date(2024, time.June, 3, 7, 41, 0, 0, time.UTC)

// Seed makes directories.
func (f *FS) Seed(dirs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range dirs {
		f.must(d, f.mkdir(d, Epoch.UnixNano()))
	}
}

// Put makes a file and its parents. Its modification time is so many hours after
// Epoch.
func (f *FS) Put(path string, hours int, src Source) {
	f.PutAt(path, Epoch.Add(time.Duration(hours)*time.Hour), src)
}

// PutAt makes a file with a modification time, and its parents.
func (f *FS) PutAt(path string, modified time.Time, src Source) {
	f.must(path, f.addSource(path, src, modified))
}

// Deny makes a directory with which only lstat works.
func (f *FS) Deny(dir string) {
	f.Seed(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.find(dir, false)
	f.must(dir, err)
	at.node.denied = true
}

// must panics if the contents of a new phone are wrong, which is a programming error.
func (f *FS) must(path string, err error) {
	if err != nil {
		panic("phone: contents " + path + ": " + err.Error())
	}
}

// ContentSize returns the total size of all files.
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
