package ostracerelay

import (
	"archive/tar"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// archivePiece is the number of bytes of the tar stream in one message.
const archivePiece = 32 << 10

// archive sends the stored log. The end of the connection marks the end of the archive.
func (d *Device) archive(w io.Writer, req plist.Dict) error {
	entries, err := d.selectHistory(req)
	if err != nil {
		_ = reply(w, plist.Dict{"Status": statusFailed})
		return errs.New("serve", "", err)
	}
	files, err := archiveFiles(d.Phone, entries)
	if err != nil {
		_ = reply(w, plist.Dict{"Status": statusFailed})
		return errs.New("serve", "", err)
	}
	if err := reply(w, plist.Dict{"Status": statusOK}); err != nil {
		return err
	}
	pieces := &pieceWriter{w: w, buf: make([]byte, 5, 5+archivePiece)}
	if err := writeTar(tar.NewWriter(pieces), files, d.Phone.Clock.Now()); err != nil {
		return err
	}
	return pieces.flush()
}

// selectHistory returns the entries of the stored log that are within the bounds of a
// request.
func (d *Device) selectHistory(req plist.Dict) ([]*log.Entry, error) {
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
	entries := d.Phone.Log.History()
	from := time.Unix(limit[2], 0)
	if days := limit[1]; days > 0 && days < 10000 {
		if t := d.Phone.Clock.Now().AddDate(0, 0, -int(days)); t.After(from) {
			from = t
		}
	}
	entries = slices.DeleteFunc(entries,
		func(e *log.Entry) bool { return e.Time.Before(from) })
	if size := limit[0]; size > 0 {
		// The newest entries are kept.
		first := len(entries)
		for first > 0 && size > 0 {
			first--
			size -= int64(64 + len(entries[first].Message))
		}
		entries = entries[first:]
	}
	return entries, nil
}

// pieceWriter sends the bytes that are written to it as archive messages.
type pieceWriter struct {
	w   io.Writer
	buf []byte // header and content of the next message
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

// archiveFile is one member of the tar stream.
type archiveFile struct {
	name string // ends in a slash if it is a directory
	data []byte
}

// archiveFiles returns the files of a .logarchive directory for the log.
func archiveFiles(p *phone.Phone, entries []*log.Entry) ([]archiveFile, error) {
	t := newTrace(p, entries)
	info, err := t.info(p.Clock.Now())
	if err != nil {
		return nil, err
	}
	version, err := plist.Encode(plist.Dict{"Identifier": p.Clock.BootID(), "Version": int64(3)},
		plist.XML)
	if err != nil {
		return nil, err
	}
	files := []archiveFile{{"Info.plist", info}, {"version.plist", version}}
	for _, name := range []string{
		"Extra/", "HighVolume/", "Persist/", "Signpost/", "Special/", "timesync/",
	} {
		files = append(files, archiveFile{name: name})
	}
	files = append(files,
		archiveFile{"Persist/0000000000000001.tracev3", t.trace()},
		archiveFile{"timesync/0000000000000001.timesync", t.timesync()})
	made := map[string]bool{}
	for _, u := range t.uuids {
		name := strings.ToUpper(hex.EncodeToString(u.id[:]))
		folder, file := name[:2]+"/", name[2:]
		if !made[folder] { // images with UUIDs that begin alike share a directory
			made[folder] = true
			files = append(files, archiveFile{name: folder})
		}
		files = append(files, archiveFile{folder + file, uuidText(u.path)})
	}
	return files, nil
}

func writeTar(t *tar.Writer, files []archiveFile, now time.Time) error {
	for _, f := range files {
		h := &tar.Header{
			Name: f.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f.data)),
			ModTime: now.Truncate(time.Second),
			Uname:   "root", Gname: "wheel", Format: tar.FormatPAX,
		}
		if strings.HasSuffix(f.name, "/") {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	return t.Close()
}
