package files

import (
	"encoding/binary"
	"io"
	"sync"
)

// PageSize is the size of the pages in which contents are stored.
const PageSize = 256 << 10

// Source computes the bytes of a file that was not written to.
type Source interface {
	length() int64
	// fill copies the bytes from off on to p. off+len(p) is at most the length.
	fill(p []byte, off int64)
}

// content holds the bytes of one plain file. A page that was never written is read
// from src, up to the end of src; the bytes after it are zeros. A page may be
// shorter than PageSize; the bytes after its end are zeros, too.
type content struct {
	mu     sync.RWMutex
	size   int64
	pages  map[int64][]byte
	src    Source
	srcEnd int64 // end of the bytes that src provides
	lazy   bool  // size and srcEnd were not taken from src yet

	handles int  // number of open Files
	gone    bool // the last name was removed; the last handle frees the pages

	lockMu sync.Mutex
	shared map[*File]struct{}
	owner  *File // of the exclusive lock
}

// occupied returns the space that a file of size bytes takes on the volume.
func occupied(size int64) int64 {
	return (size + BlockSize - 1) / BlockSize * BlockSize
}

// settle takes the size from a lazy source. The caller holds mu for writing.
func (c *content) settle() {
	if c.lazy {
		c.lazy = false
		c.size = c.src.length()
		c.srcEnd = c.size
	}
}

// rlock locks mu for reading, after it has made sure that the size is known.
func (c *content) rlock() {
	c.mu.RLock()
	if !c.lazy {
		return
	}
	c.mu.RUnlock()
	c.mu.Lock()
	c.settle()
	c.mu.Unlock()
	c.mu.RLock()
}

func (c *content) length() int64 {
	c.rlock()
	defer c.mu.RUnlock()
	return c.size
}

func (c *content) readAt(p []byte, off int64) (int, error) {
	c.rlock()
	defer c.mu.RUnlock()
	if off >= c.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		k, in := at/PageSize, int(at%PageSize)
		part := p[done:min(n, done+PageSize-in)]
		c.readPage(part, k, in)
		done += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPage fills part from page k beginning at in.
func (c *content) readPage(part []byte, k int64, in int) {
	page, ok := c.pages[k]
	n := 0
	switch {
	case ok && in < len(page):
		n = copy(part, page[in:])
	case !ok && c.src != nil:
		n = c.fromSource(part, k*PageSize+int64(in))
	}
	clear(part[n:])
}

func (c *content) fromSource(p []byte, off int64) int {
	n := min(int64(len(p)), c.srcEnd-off)
	if n <= 0 {
		return 0
	}
	c.src.fill(p[:n], off)
	return int(n)
}

// writeAt writes p at off, or at the end if off is negative, and returns the offset
// of p.
func (c *content) writeAt(vol *Volume, p []byte, off int64) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	if len(p) == 0 {
		if off < 0 {
			off = c.size
		}
		return off, nil
	}
	off, err := c.reserve(vol, len(p), off)
	if err == nil {
		c.writePages(p, off)
	}
	return off, err
}

// writePages writes p at off, which is inside of the size. mu is held for writing.
func (c *content) writePages(p []byte, off int64) {
	if c.pages == nil {
		c.pages = map[int64][]byte{}
	}
	for at := off; len(p) > 0; {
		k, in := at/PageSize, int(at%PageSize)
		part := p[:min(len(p), PageSize-in)]
		c.pages[k] = c.writePage(part, k, in)
		p = p[len(part):]
		at += int64(len(part))
	}
}

// putPage is writeAt for a page, which it keeps. If off is not the beginning of a page,
// it copies.
func (c *content) putPage(vol *Volume, page []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	off, err := c.reserve(vol, len(page), off)
	switch {
	case err != nil:
		FreePage(page)
		return err
	case off%PageSize != 0:
		c.writePages(page, off)
		FreePage(page)
		return nil
	}
	if c.pages == nil {
		c.pages = map[int64][]byte{}
	}
	FreePage(c.pages[off/PageSize])
	c.pages[off/PageSize] = page
	return nil
}

// reserve makes the file large enough for n bytes at off, or at the end if off is
// negative, and returns their offset. mu is held for writing.
func (c *content) reserve(vol *Volume, n int, off int64) (int64, error) {
	if off < 0 {
		off = c.size
	}
	if off > maxOffset-int64(n)-BlockSize {
		return 0, ErrInvalid
	}
	if end := off + int64(n); end > c.size {
		if err := vol.Reserve(occupied(end) - occupied(c.size)); err != nil {
			return 0, err
		}
		c.size = end
	}
	return off, nil
}

// writePage returns page k with part at in.
func (c *content) writePage(part []byte, k int64, in int) []byte {
	page, ok := c.pages[k]
	if in+len(part) <= len(page) {
		copy(page[in:], part)
		return page
	}
	if !ok && in == 0 && len(part) == PageSize {
		page = NewPage()
		copy(page, part)
		return page
	}
	if !ok {
		page = c.materialise(k)
	}
	page = growPage(page, in+len(part))
	copy(page[in:], part)
	return page
}

// materialise returns a page with the bytes that the source provides for page k.
func (c *content) materialise(k int64) []byte {
	n := min(c.srcEnd-k*PageSize, PageSize)
	if c.src == nil || n <= 0 {
		return nil
	}
	page := make([]byte, n)
	c.src.fill(page, k*PageSize)
	return page
}

// growPage makes a page at least n bytes long. The capacity of a page doubles while
// it is written in pieces, so that small files stay small.
func growPage(page []byte, n int) []byte {
	if n <= len(page) {
		return page
	}
	if n <= cap(page) {
		old := len(page)
		page = page[:n]
		clear(page[old:])
		return page
	}
	size := min(max(n, 2*cap(page), 64), PageSize)
	if size > PageSize/2 {
		fresh := NewPage()[:n]
		clear(fresh[copy(fresh, page):])
		return fresh
	}
	fresh := make([]byte, n, size)
	copy(fresh, page)
	return fresh
}

// pagePool holds whole pages for later writers. They are not cleared.
var pagePool sync.Pool

// NewPage returns a page for File.WritePage. Its content is arbitrary.
func NewPage() []byte {
	if p, ok := pagePool.Get().(*[PageSize]byte); ok {
		return p[:]
	}
	return make([]byte, PageSize)
}

// FreePage ends the use of a page from NewPage that no file keeps.
func FreePage(page []byte) {
	if cap(page) == PageSize {
		pagePool.Put((*[PageSize]byte)(page[:PageSize]))
	}
}

func (c *content) truncate(vol *Volume, size int64) error {
	if size < 0 || size > maxOffset-BlockSize {
		return ErrInvalid
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle()
	if err := vol.Reserve(occupied(size) - occupied(c.size)); err != nil {
		return err
	}
	if size < c.size {
		c.cut(size)
	}
	c.size = size
	return nil
}

// cut removes all bytes from size on, so that they are zeros if the file grows
// again.
func (c *content) cut(size int64) {
	c.srcEnd = min(c.srcEnd, size)
	for k, page := range c.pages {
		switch start := k * PageSize; {
		case start >= size:
			delete(c.pages, k)
			FreePage(page)
		case start+int64(len(page)) > size:
			c.pages[k] = page[:size-start]
		}
	}
}

// open counts a handle. release ends it.
func (c *content) open() {
	c.mu.Lock()
	c.handles++
	c.mu.Unlock()
}

func (c *content) release(vol *Volume) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handles--
	c.reclaim(vol)
}

// unlink is called when the last name was removed.
func (c *content) unlink(vol *Volume) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.reclaim(vol)
}

func (c *content) reclaim(vol *Volume) {
	if !c.gone || c.handles > 0 {
		return
	}
	c.settle()
	_ = vol.Reserve(-occupied(c.size)) // giving back cannot fail
	c.cut(0)
	c.size, c.src = 0, nil
}

// noise is pseudo-random content. Large files of it are copied in benchmarks, so it must
// be cheap: it repeats a table, whose words are combined (XOR) with another number in each
// repetition.
type noise struct {
	seed uint64
	size int64
}

// noiseWords is the length of the table.
const noiseWords = 4096

var noiseTable = sync.OnceValue(func() *[noiseWords]uint64 {
	var t [noiseWords]uint64
	for i := range t {
		t[i] = Mix(uint64(i))
	}
	return &t
})

func (s noise) length() int64 { return s.size }

func (s noise) fill(p []byte, off int64) {
	table := noiseTable()
	word := uint64(off) / 8
	if skip := int(off % 8); skip > 0 {
		p = p[s.part(p, word, skip):]
		word++
	}
	for len(p) >= 8 {
		mask := s.mask(word)
		part := table[word%noiseWords:]
		part = part[:min(len(part), len(p)/8)]
		for i, v := range part {
			binary.LittleEndian.PutUint64(p[8*i:8*i+8], v^mask)
		}
		p = p[8*len(part):]
		word += uint64(len(part))
	}
	s.part(p, word, 0)
}

// part copies a word to p without its first bytes and returns their number.
func (s noise) part(p []byte, word uint64, skip int) int {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], noiseTable()[word%noiseWords]^s.mask(word))
	return copy(p, b[skip:])
}

func (s noise) mask(word uint64) uint64 { return Mix(s.seed + word/noiseWords<<32) }

// Mix is a bijection that scatters the bits. It is the last step of splitmix64.
func Mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

type lazyBytes func() []byte

func (s lazyBytes) length() int64            { return int64(len(s())) }
func (s lazyBytes) fill(p []byte, off int64) { copy(p, s()[off:]) }

type headed struct {
	head string
	noise
}

func (s headed) fill(p []byte, off int64) {
	s.noise.fill(p, off)
	if off < int64(len(s.head)) {
		copy(p, s.head[off:])
	}
}

// Text returns the bytes of a string.
func Text(s string) Source { return literal(s) }

type literal string

func (s literal) length() int64            { return int64(len(s)) }
func (s literal) fill(p []byte, off int64) { copy(p, s[off:]) }

// Noise returns size pseudo-random bytes, the same for the same seed.
func Noise(seed uint64, size int64) Source { return noise{seed, size} }

// FillNoise fills b with pseudo-random bytes, the same for the same seed.
func FillNoise(b []byte, seed uint64) {
	for ; len(b) > 0; seed++ {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], Mix(seed))
		b = b[copy(b, word[:]):]
	}
}

// Headed returns a file of size bytes that begins with head, such as the magic number of a
// format, and continues with noise.
func Headed(head string, seed uint64, size int64) Source { return headed{head, noise{seed, size}} }

// Lazy returns the bytes that f makes. f is called when they are needed, and its result
// may be shared by many files.
func Lazy(f func() []byte) Source { return lazyBytes(f) }
