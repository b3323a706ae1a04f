package ostracerelay

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
)

// archivePiece is how much of the tar stream one message carries.
const archivePiece = 32 << 10

// archive sends the stored log. The end of it is the end of the connection.
func (d *Device) archive(w io.Writer, req plist.Dict) error {
	entries, err := d.selectHistory(req)
	if err != nil {
		_ = reply(w, plist.Dict{"Status": statusFailed})
		return &Error{Op: "serve", Err: err}
	}
	if err := reply(w, plist.Dict{"Status": statusOK}); err != nil {
		return err
	}
	pieces := &pieceWriter{w: w, buf: make([]byte, 5, 5+archivePiece)}
	t := tar.NewWriter(pieces)
	if err := d.writeArchive(t, entries); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	return pieces.flush()
}

// selectHistory applies the bounds of a request to the stored log.
func (d *Device) selectHistory(req plist.Dict) ([]*phone.LogEntry, error) {
	var limit [3]int64
	for i, key := range []string{"SizeLimit", "AgeLimit", "StartTime"} {
		v, given := req[key]
		if !given {
			continue
		}
		n, ok := plist.Int(v)
		if !ok || n < 0 {
			return nil, fmt.Errorf("%w: %s %v", ErrProtocol, key, v)
		}
		limit[i] = n
	}
	entries := d.Phone.LogHistory()
	from := time.Unix(limit[2], 0)
	if days := limit[1]; days > 0 && days < 10000 {
		if t := d.Phone.Now().AddDate(0, 0, -int(days)); t.After(from) {
			from = t
		}
	}
	entries = slices.DeleteFunc(entries, func(e *phone.LogEntry) bool { return e.Time.Before(from) })
	if size := limit[0]; size > 0 {
		// The newest ones stay.
		first := len(entries)
		for first > 0 && size > 0 {
			first--
			size -= int64(64 + len(entries[first].Message))
		}
		entries = entries[first:]
	}
	return entries, nil
}

// pieceWriter frames what is written to it as archive messages.
type pieceWriter struct {
	w   io.Writer
	buf []byte // head of a message and what is to go into it
}

func (p *pieceWriter) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := min(len(b)-done, cap(p.buf)-len(p.buf))
		p.buf = append(p.buf, b[done:done+n]...)
		done += n
		if len(p.buf) == cap(p.buf) {
			if err := p.flush(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func (p *pieceWriter) flush() error {
	if len(p.buf) == 5 {
		return nil
	}
	p.buf[0] = typeArchive
	binary.LittleEndian.PutUint32(p.buf[1:], uint32(len(p.buf)-5))
	_, err := p.w.Write(p.buf)
	p.buf = p.buf[:5]
	return err
}

// writeArchive lays the log out as a .logarchive folder does.
func (d *Device) writeArchive(t *tar.Writer, entries []*phone.LogEntry) error {
	now := d.Phone.Now()
	a := newTrace(d.Phone, entries)
	files := []struct {
		name string
		data []byte // nil = a directory
	}{
		{"Extra/", nil}, {"HighVolume/", nil}, {"Persist/", nil}, {"Signpost/", nil}, {"Special/", nil}, {"timesync/", nil},
		{"Persist/0000000000000001.tracev3", a.trace()},
		{"timesync/0000000000000001.timesync", a.timesync()},
	}
	for _, u := range a.uuids {
		name := strings.ToUpper(hex.EncodeToString(u.id[:]))
		files = append(files,
			struct {
				name string
				data []byte
			}{name[:2] + "/", nil},
			struct {
				name string
				data []byte
			}{name[:2] + "/" + name[2:], uuidText(u.path)})
	}
	info, err := a.info(now)
	if err != nil {
		return err
	}
	version, err := plist.Encode(plist.Dict{"Identifier": a.bootText(), "Version": int64(3)}, plist.XML)
	if err != nil {
		return err
	}
	files = append(files,
		struct {
			name string
			data []byte
		}{"Info.plist", info},
		struct {
			name string
			data []byte
		}{"version.plist", version})
	made := map[string]bool{}
	for _, f := range files {
		if made[f.name] {
			continue // images whose UUIDs begin alike share a folder
		}
		made[f.name] = true
		h := &tar.Header{
			Name: f.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f.data)), ModTime: now.Truncate(time.Second),
			Uname: "root", Gname: "wheel", Format: tar.FormatPAX,
		}
		if f.data == nil {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(t, bytes.NewReader(f.data)); err != nil {
			return err
		}
	}
	return nil
}
