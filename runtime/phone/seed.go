package phone

import "time"

// What the builders of a new phone's trees use. They run inside the once of
// the tree, charge nothing (the profile's used space counts them already),
// and cannot meet anything that exists.

// seed makes directories.
func (f *FS) seed(dirs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range dirs {
		f.must(d, f.mkdir(d, epoch.UnixNano()))
	}
}

// put makes a file and its parents; hours are counted from epoch.
func (f *FS) put(path string, hours int, src source) {
	f.must(path, f.addSource(path, src, epoch.Add(time.Duration(hours)*time.Hour)))
}

// deny makes a directory that answers lstat and nothing else.
func (f *FS) deny(dir string) {
	f.seed(dir)
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

// contentSize is the size of all files.
func (f *FS) contentSize() uint64 {
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

// clear removes everything.
func (f *FS) clear() {
	f.ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.root.children {
		delete(f.root.children, name)
		f.drop(n)
	}
}
