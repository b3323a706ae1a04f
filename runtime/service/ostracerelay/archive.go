package ostracerelay

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/imdlua/imdlua/runtime/link"
)

// copyWhole copies an archive like copyArchive, but it returns an error if the
// connection was lost before the end of the archive. Only the content of the tar stream
// shows the difference.
func copyWhole(w io.Writer, r io.Reader) (int64, error) {
	in, out := io.Pipe()
	cut := make(chan bool, 1)
	go func() {
		err := readTar(in)
		_, _ = io.Copy(io.Discard, in) // keeps the writing side from failing
		cut <- err == io.ErrUnexpectedEOF
	}()
	n, err := copyArchive(io.MultiWriter(w, out), r)
	out.Close()
	if wasCut := <-cut; err == nil && wasCut {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// readTar reads a tar stream to its end.
func readTar(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		_, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyArchive writes the pieces of the archive to w until the stream ends between two
// of them.
func copyArchive(w io.Writer, r io.Reader) (int64, error) {
	var total int64
	buf := make([]byte, 64<<10)
	for {
		var h [5]byte
		if _, err := io.ReadFull(r, h[:]); err == io.EOF && total > 0 {
			return total, nil
		} else if err != nil {
			return total, unexpected(err)
		}
		left := binary.LittleEndian.Uint32(h[1:])
		if h[0] != typeArchive {
			return total, fmt.Errorf("%w: type %d in an archive", ErrProtocol, h[0])
		}
		if left > MaxArchivePiece {
			return total, &link.FrameError{Length: left, Max: MaxArchivePiece}
		}
		for left > 0 {
			n, err := io.ReadFull(r, buf[:min(int(left), len(buf))])
			if err != nil {
				return total, unexpected(err)
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
			left -= uint32(n)
		}
	}
}
