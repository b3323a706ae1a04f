package ostracerelay

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/service"
)

// FuzzArchive decodes a tar stream in the pieces of an archive.
func FuzzArchive(f *testing.F) {
	ok, err := plist.Encode(plist.Dict{"Status": statusOK}, plist.Binary)
	if err != nil {
		f.Fatal(err)
	}
	head := append([]byte{1, 0, 0, 0, byte(len(ok))}, ok...)
	for _, name := range []string{"a", "../../etc/passwd", string(make([]byte, 300))} {
		var b bytes.Buffer
		writeSeed(&b, name)
		f.Add(b.Bytes(), uint32(512))
		f.Add(b.Bytes()[:b.Len()-700], uint32(1))
	}
	f.Fuzz(func(t *testing.T, content []byte, size uint32) {
		size = max(size%4096, 1)
		if n := uint32(len(content)); n/size > 1000 {
			size = n // many pieces take time, but not memory
		}
		in := bytes.Clone(head)
		for rest := content; len(rest) > 0; {
			piece := rest[:min(len(rest), int(size))]
			in = binary.LittleEndian.AppendUint32(append(in, 3), uint32(len(piece)))
			in, rest = append(in, piece...), rest[len(piece):]
		}
		fuzztest.Bounded(t, len(in), func() {
			c := New(memory{Reader: bytes.NewReader(in)})
			var out bytes.Buffer
			n, err := c.CreateArchive(context.Background(), &out, ArchiveOptions{})
			fuzztest.Typed[*service.Error](t, "CreateArchive", err)
			if n != int64(out.Len()) {
				t.Errorf("CreateArchive = %d, wrote %d bytes", n, out.Len())
			}
			if !bytes.HasPrefix(content, out.Bytes()) {
				t.Errorf("CreateArchive wrote %d bytes that are not those sent", out.Len())
			}
		})
	})
}

// writeSeed writes a small archive.
func writeSeed(w io.Writer, name string) {
	t := tar.NewWriter(w)
	_ = t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: 3, Format: tar.FormatGNU})
	_, _ = t.Write([]byte("abc"))
	_ = t.Close()
}
