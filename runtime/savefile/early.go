package savefile

import (
	"io"
	"os"
)

// early is how much Writer collects before the system begins to write it to the disk.
const early = 8 << 20

// Writer returns a writer to a new file. The system begins to write the data to the disk
// while more of it arrives. Otherwise Sync at the end would wait for all of it.
func Writer(f *os.File) io.Writer { return &earlyWriter{f: f} }

type earlyWriter struct {
	f       *os.File
	written int64
	begun   int64 // the system has begun to write the bytes before this one
}

func (w *earlyWriter) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	w.written += int64(n)
	if w.written-w.begun >= early {
		writeBack(w.f, w.begun, w.written-w.begun)
		w.begun = w.written
	}
	return n, err
}
