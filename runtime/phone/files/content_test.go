package files

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// TestContentAgainstModel does the same random operations on a file and on a slice and
// compares them. The file starts empty or with computed content.
func TestContentAgainstModel(t *testing.T) {
	t.Parallel()
	for _, begin := range []int64{0, 1, 1000, PageSize, 3*PageSize + 17} {
		rnd := rand.New(rand.NewPCG(1, uint64(begin)))
		f := NewFS(nil, 1<<30)
		if err := f.AddSynthetic("x", begin, 7, time.Now()); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, begin)
		noise{seed: 7, size: begin}.fill(want, 0)
		h, err := f.Open("x", os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		for step := range 200 {
			want = randomStep(t, rnd, h, want)
			if h.Size() != int64(len(want)) {
				t.Fatalf("begin %d, step %d: size %d, want %d", begin, step, h.Size(), len(want))
			}
			if total, free, _ := f.Usage(); int64(total-free) != occupied(h.Size()) {
				t.Fatalf("begin %d, step %d: %d bytes taken, size %d", begin, step, total-free,
					h.Size())
			}
		}
		if got, err := f.ReadFile("x"); err != nil {
			t.Errorf("begin %d: %v", begin, err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("begin %d: the contents differ", begin)
		}
		if err := errors.Join(f.Remove("x"), h.Close()); err != nil {
			t.Error(err)
		}
		if total, free, _ := f.Usage(); total != free {
			t.Errorf("begin %d: %d bytes taken after removal", begin, total-free)
		}
	}
}

// randomStep does one operation on the file and on the slice and returns the slice.
func randomStep(t *testing.T, rnd *rand.Rand, h *File, want []byte) []byte {
	const most = 4 * PageSize
	off := rnd.IntN(most)
	p := make([]byte, rnd.IntN(PageSize+PageSize/2))
	if rnd.IntN(4) == 0 {
		off, p = off/PageSize*PageSize, make([]byte, PageSize)
	}
	noise{seed: rnd.Uint64()}.fill(p, 0)
	switch rnd.IntN(6) {
	case 0, 1:
		write(t, h, p, off)
		if len(p) > 0 {
			want = append(want, make([]byte, max(off+len(p)-len(want), 0))...)
			copy(want[off:], p)
		}
	case 2:
		p = p[:len(p)/8]
		if at, err := h.Append(p); err != nil {
			t.Fatalf("Append: %v", err)
		} else if at != int64(len(want)) {
			t.Fatalf("Append = %v, want %v", at, int64(len(want)))
		}
		want = append(want, p...)
	case 3:
		if err := h.Truncate(int64(off)); err != nil {
			t.Fatal(err)
		}
		want = append(want[:min(off, len(want)):min(off, len(want))],
			make([]byte, max(off-len(want), 0))...)
	default:
		n, err := h.ReadAt(p, int64(off))
		exp := []byte{}
		if off < len(want) {
			exp = want[off:min(off+len(p), len(want))]
		}
		if !bytes.Equal(p[:n], exp) {
			t.Fatalf("ReadAt(%d bytes at %d) of %d: %d bytes, contents differ", len(p), off,
				len(want), n)
		}
		if (n < len(p)) != (err == io.EOF) {
			t.Fatalf("ReadAt = %d of %d bytes, %v", n, len(p), err)
		}
		if err != nil && err != io.EOF {
			t.Fatalf("ReadAt: %v", err)
		}
	}
	return want
}

// write writes p, as a page if it is one.
func write(t *testing.T, h *File, p []byte, off int) {
	t.Helper()
	if len(p) == PageSize {
		page := NewPage()
		copy(page, p)
		if err := h.WritePage(page, int64(off)); err != nil {
			t.Fatalf("WritePage: %v", err)
		}
		return
	}
	n, err := h.WriteAt(p, int64(off))
	if err != nil {
		t.Fatalf("WriteAt: %v", err)
	}
	if n != len(p) {
		t.Fatalf("WriteAt = %v, want %v", n, len(p))
	}
}

// TestWritePageRefused writes pages that a file cannot take.
func TestWritePageRefused(t *testing.T) {
	t.Parallel()
	f := NewFS(nil, PageSize)
	h, err := f.Open("x", os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WritePage(NewPage(), 0); err != nil {
		t.Errorf("WritePage: %v", err)
	}
	for _, test := range []struct {
		off  int64
		want error
	}{{PageSize, ErrNoSpace}, {-1, ErrInvalid}, {maxOffset, ErrInvalid}} {
		if err := h.WritePage(NewPage(), test.off); !errors.Is(err, test.want) {
			t.Errorf("WritePage at %d = %v, want %v", test.off, err, test.want)
		}
	}
	r, err := f.Open("x", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WritePage(NewPage(), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("WritePage = %v, want %v", err, fs.ErrPermission)
	}
}

func TestNoiseAtAnyOffset(t *testing.T) {
	t.Parallel()
	whole := make([]byte, 100)
	src := headed{"HEAD", noise{5, 100}}
	src.fill(whole, 0)
	if !bytes.HasPrefix(whole, []byte("HEAD")) {
		t.Errorf("begins with %q", whole[:4])
	}
	for off := range whole {
		for end := off; end <= len(whole); end++ {
			part := make([]byte, end-off)
			src.fill(part, int64(off))
			if !bytes.Equal(part, whole[off:end]) {
				t.Fatalf("[%d:%d] differs", off, end)
			}
		}
	}
}

// TestNoiseAcrossTable reads around the end of the table.
func TestNoiseAcrossTable(t *testing.T) {
	t.Parallel()
	const end = 8 * noiseWords
	src := noise{5, 2*end + 100}
	whole := make([]byte, src.size)
	src.fill(whole, 0)
	if bytes.Equal(whole[:end], whole[end:2*end]) {
		t.Error("the table repeats")
	}
	for off := end - 20; off < end+20; off++ {
		for _, n := range []int{1, 7, 8, 30, end, end + 50} {
			part := make([]byte, n)
			src.fill(part, int64(off))
			if !bytes.Equal(part, whole[off:off+n]) {
				t.Fatalf("%d bytes at %d differ", n, off)
			}
		}
	}
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	f := newTestFS(t)
	open := func(flag int) *File {
		t.Helper()
		h, err := f.Open("a/file", flag)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		return h
	}
	r, w, a := open(os.O_RDONLY), open(os.O_WRONLY), open(os.O_WRONLY|os.O_APPEND)
	if _, err := r.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("write to a reader: %v", err)
	}
	if err := r.Truncate(0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("truncate a reader: %v", err)
	}
	if _, err := w.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read from a writer: %v", err)
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); !errors.Is(err, ErrInvalid) {
		t.Errorf("read at -1: %v", err)
	}
	if _, err := w.WriteAt([]byte("x"), -1); !errors.Is(err, ErrInvalid) {
		t.Errorf("write at -1: %v", err)
	}
	if _, err := w.WriteAt([]byte("x"), maxOffset); !errors.Is(err, ErrInvalid) {
		t.Errorf("write beyond all: %v", err)
	}
	if _, err := a.WriteAt([]byte("!"), 0); err != nil {
		t.Error(err)
	}
	if b, _ := f.ReadFile("a/file"); string(b) != "hello!" {
		t.Errorf("after appending %q", b)
	}
	open(os.O_WRONLY | os.O_TRUNC)
	if n := r.Size(); n != 0 {
		t.Errorf("O_TRUNC left %d bytes", n)
	}
}

func TestFileLocks(t *testing.T) {
	t.Parallel()
	f := newTestFS(t)
	var h [3]*File
	for i := range h {
		var err error
		h[i], err = f.Open("a/file", os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		name string
		do   func() error
		want error
	}{
		{"0 shared", func() error { return h[0].Lock(false) }, nil},
		{"1 shared", func() error { return h[1].Lock(false) }, nil},
		{"2 exclusive against shared", func() error { return h[2].Lock(true) }, ErrBusy},
		{"0 exclusive against shared", func() error { return h[0].Lock(true) }, ErrBusy},
		{"1 unlocks", func() error { h[1].Unlock(); return nil }, nil},
		{"0 converts to exclusive", func() error { return h[0].Lock(true) }, nil},
		{"0 again", func() error { return h[0].Lock(true) }, nil},
		{"1 shared against exclusive", func() error { return h[1].Lock(false) }, ErrBusy},
		{"2 unlocks what it has not", func() error { h[2].Unlock(); return nil }, nil},
		{"1 still refused", func() error { return h[1].Lock(false) }, ErrBusy},
		{"0 converts to shared", func() error { return h[0].Lock(false) }, nil},
		{"1 shared", func() error { return h[1].Lock(false) }, nil},
		{"0 closes", h[0].Close, nil},
		{"1 converts, alone now", func() error { return h[1].Lock(true) }, nil},
		{"1 closes", h[1].Close, nil},
		{"2 exclusive", func() error { return h[2].Lock(true) }, nil},
	}
	for _, s := range steps {
		if err := s.do(); !errors.Is(err, s.want) {
			t.Fatalf("%s: %v, want %v", s.name, err, s.want)
		}
	}
}

// TestContentConcurrent writes and reads one file from many goroutines.
func TestContentConcurrent(t *testing.T) {
	t.Parallel()
	f := NewFS(nil, 1<<30)
	if err := f.AddSynthetic("x", 2*PageSize, 1, time.Now()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			h, err := f.Open("x", os.O_RDWR)
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close()
			p := bytes.Repeat([]byte{byte(i)}, 1000)
			for k := range 50 {
				off := int64(i*PageSize/2 + k*1000)
				if _, err := h.WriteAt(p, off); err != nil {
					t.Error(err)
				}
				q := make([]byte, 1000)
				if _, err := h.ReadAt(q, off); err != nil {
					t.Errorf("ReadAt(%d): %v", off, err)
				} else if !bytes.Equal(p, q) {
					t.Errorf("ReadAt(%d): the bytes differ from those written in step %d", off, i)
				}
			}
		})
	}
	wg.Wait()
}

const (
	benchSize  = 256 << 20
	benchPiece = 1 << 20
)

func BenchmarkWriteSequential(b *testing.B) {
	p := make([]byte, benchPiece)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		f := NewFS(nil, 1<<40)
		h, _ := f.Open("x", os.O_RDWR|os.O_CREATE)
		for off := int64(0); off < benchSize; off += benchPiece {
			if _, err := h.WriteAt(p, off); err != nil {
				b.Fatal(err)
			}
		}
		_ = f.Remove("x")
		_ = h.Close()
	}
}

func BenchmarkReadSequential(b *testing.B) {
	f := NewFS(nil, 1<<40)
	if err := f.WriteFile("x", make([]byte, benchSize)); err != nil {
		b.Fatal(err)
	}
	readBench(b, f)
}

func BenchmarkReadSynthetic(b *testing.B) {
	f := NewFS(nil, 1<<40)
	if err := f.AddSynthetic("x", benchSize, 1, time.Now()); err != nil {
		b.Fatal(err)
	}
	readBench(b, f)
}

func readBench(b *testing.B, f *FS) {
	h, err := f.Open("x", os.O_RDONLY)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, benchPiece)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		for off := int64(0); off < benchSize; off += benchPiece {
			if _, err := h.ReadAt(p, off); err != nil {
				b.Fatal(err)
			}
		}
	}
}
