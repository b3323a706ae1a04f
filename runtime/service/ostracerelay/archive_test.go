package ostracerelay

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

func archiveOf(t *testing.T, r *rig, o ArchiveOptions) map[string][]byte {
	t.Helper()
	c, ended := r.dial()
	var b bytes.Buffer
	n, err := New(c).CreateArchive(t.Context(), &b, o)
	if err != nil {
		t.Fatalf("CreateArchive: %v", err)
	}
	if n != int64(b.Len()) {
		t.Fatalf("CreateArchive = %d, wrote %d", n, b.Len())
	}
	if err := <-ended; err != nil {
		t.Fatalf("Serve = %v", err)
	}
	files := map[string][]byte{}
	for tr := tar.NewReader(&b); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, again := files[h.Name]; again {
			t.Errorf("%s twice", h.Name)
		}
		files[h.Name], err = io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// chunks calls each for the chunks of a tracev3 file or of a chunk set.
func chunks(t *testing.T, b []byte, each func(tag uint32, data []byte)) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 16 {
			t.Fatalf("%d bytes left over", len(b))
		}
		n := binary.LittleEndian.Uint64(b[8:])
		if n > uint64(len(b)-16) {
			t.Fatalf("chunk of %d bytes in %d", n, len(b)-16)
		}
		each(binary.LittleEndian.Uint32(b), b[16:16+n])
		b = b[min(uint64(len(b)), (16+n+7)/8*8):]
	}
}

// messages returns the messages in a tracev3 file.
func messages(t *testing.T, file []byte) []string {
	t.Helper()
	got, _ := tracedMessages(t, file)
	return got
}

// tracedMessages returns the messages in a tracev3 file and the ticks of each.
func tracedMessages(t *testing.T, file []byte) (got []string, ticks []uint64) {
	t.Helper()
	chunks(t, file, func(tag uint32, data []byte) {
		if tag != tagChunkSet {
			return
		}
		if string(data[:4]) != "bv4-" {
			t.Fatalf("the chunk set begins with %q", data[:4])
		}
		if string(data[len(data)-4:]) != "bv4$" {
			t.Fatalf("the chunk set ends with %q", data[len(data)-4:])
		}
		chunks(t, data[8:len(data)-4], func(_ uint32, page []byte) {
			used := int(binary.LittleEndian.Uint16(page[16:]))
			if used > pageSize {
				t.Fatalf("a page of %d bytes declares %d, more than a page", len(page), used)
			}
			if used != len(page)-16 {
				t.Fatalf("a page of %d bytes declares %d", len(page), used)
			}
			for b := page[32:]; len(b) > 0; {
				flags, n := binary.LittleEndian.Uint16(
					b[2:],
				), int(binary.LittleEndian.Uint16(b[22:]))
				rec := b[24 : 24+n]
				skip := 4
				if flags&0xE == flagUUIDRelative {
					skip += 16
				}
				if flags&flagSubsystem != 0 {
					skip += 2
				}
				size := int(binary.LittleEndian.Uint16(rec[skip+6:]))
				got = append(got, string(rec[skip+8:skip+8+size-1]))
				delta := uint64(
					binary.LittleEndian.Uint32(b[16:]),
				) | uint64(binary.LittleEndian.Uint16(b[20:]))<<32
				ticks = append(ticks, binary.LittleEndian.Uint64(page[24:])+delta)
				b = b[(24+n+7)/8*8:]
			}
		})
	})
	return got, ticks
}

// TestArchiveTimes checks that the ticks and the boot time of the timesync file give
// the time of each entry, even if the entry is old or its own ticks are unusual.
func TestArchiveTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		want := map[string]time.Time{}
		for i, e := range []log.Entry{
			{Time: time.Unix(1, 0), MachTime: 5},
			{Time: time.Now().Add(-time.Hour), MachTime: 1<<64 - 1},
			{Time: time.Now(), MachTime: 24_000_000},
			{},
		} {
			e.PID, e.Message = 1, fmt.Sprint("at ", i)
			r.phone.Log.Write(e)
			if e.Time.IsZero() {
				e.Time = r.phone.Clock.Now()
			}
			want[e.Message] = e.Time
		}
		files := archiveOf(t, r, ArchiveOptions{})
		sync := files["timesync/0000000000000001.timesync"]
		boot := time.Unix(0, int64(binary.LittleEndian.Uint64(sync[32:])))
		got, ticks := tracedMessages(t, files["Persist/0000000000000001.tracev3"])
		for i, m := range got {
			at := boot.Add(time.Duration(ticks[i] * tickNumerator / tickDenominator))
			if off := at.Sub(want[m]); off < -time.Microsecond || off > time.Microsecond {
				t.Errorf("%q at %v, want %v", m, at, want[m])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d messages, want %d", len(got), len(want))
		}
	})
}

func TestArchive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var want []string
		for i := range 500 {
			e := log.Entry{
				PID: 1 + i%3, ProcessPath: fmt.Sprintf("/bin/p%d", i%3),
				Message: fmt.Sprintf("message %d", i),
			}
			if i%2 == 0 {
				e.ImagePath, e.Subsystem, e.Category = "/usr/lib/x", "com.example.sub", fmt.Sprint(
					"c", i%7,
				)
			}
			r.phone.Log.Write(e)
			want = append(want, e.Message)
		}
		r.phone.Log.Write(log.Entry{PID: 1, Message: strings.Repeat("long", 5000)})
		files := archiveOf(t, r, ArchiveOptions{})
		for _, name := range []string{
			"Persist/", "Special/", "Signpost/", "timesync/", "version.plist", "Info.plist",
			"timesync/0000000000000001.timesync",
		} {
			if _, ok := files[name]; !ok {
				t.Errorf("no %s", name)
			}
		}
		d, err := plist.DecodeDict(files["Info.plist"])
		if err != nil {
			t.Errorf("Info.plist: %v", err)
		}
		if got, want := d["ArchiveIdentifier"], r.phone.Clock.BootID(); got != want {
			t.Errorf("Info.plist has the identifier %v, want %v", got, want)
		}
		got := messages(t, files["Persist/0000000000000001.tracev3"])
		if len(got) < 501 {
			t.Fatalf("%d messages", len(got))
		}
		for _, m := range want {
			if !slices.Contains(got, m) {
				t.Errorf("no %q in the archive", m)
			}
		}
		id := fmt.Sprintf("%X", r.phone.Log.History()[len(r.phone.Log.History())-2].ImageUUID)
		if b := files[id[:2]+"/"+id[2:]]; !bytes.Contains(b, []byte(formatString)) {
			t.Errorf("no format string for %s: %q", id, b)
		}
	})
}

func TestArchiveLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		now := time.Now()
		for age := 20; age >= 0; age-- {
			r.phone.Log.Write(log.Entry{
				PID: 1, Message: fmt.Sprintf("<%d>", age),
				Time: now.Add(-time.Duration(age) * 24 * time.Hour),
			})
		}
		for _, tc := range []struct {
			name      string
			in        ArchiveOptions
			has, hasN string
		}{
			{"none", ArchiveOptions{}, "<20>", ""},
			{"days", ArchiveOptions{AgeLimit: 3}, "<2>", "<4>"},
			{"start", ArchiveOptions{StartTime: now.Add(-5 * 24 * time.Hour)}, "<5>", "<6>"},
			{"size", ArchiveOptions{SizeLimit: 200}, "<0>", "<10>"},
		} {
			got := messages(t, archiveOf(t, r, tc.in)["Persist/0000000000000001.tracev3"])
			if !slices.Contains(got, tc.has) {
				t.Errorf("%s: %q, want %s in it", tc.name, got, tc.has)
			}
			if tc.hasN != "" && slices.Contains(got, tc.hasN) {
				t.Errorf("%s: %q, want no %s in it", tc.name, got, tc.hasN)
			}
		}
	})
}

func TestArchiveHostile(t *testing.T) {
	t.Parallel()
	ok, err := plist.Encode(plist.Dict{"Status": statusOK}, plist.Binary)
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte{1, 0, 0, 0, byte(len(ok))}, ok...)
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"ends in a head", []byte{3, 1, 0, 0, 0, 'x', 3, 1}, io.ErrUnexpectedEOF},
		{"ends in a piece", []byte{3, 9, 0, 0, 0, 'x'}, io.ErrUnexpectedEOF},
		{"another type", []byte{2, 1, 0, 0, 0, 'x'}, ErrProtocol},
		{"huge", []byte{3, 0xFF, 0xFF, 0xFF, 0xFF}, new(link.FrameError)},
	} {
		_, err := clientOf(t, append(bytes.Clone(head), tc.in...)).CreateArchive(t.Context(),
			io.Discard, ArchiveOptions{})
		var frame *link.FrameError
		if !errors.Is(err, tc.want) && !(errors.As(tc.want, &frame) && errors.As(err, &frame)) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// TestArchiveCut ends the connection between two pieces. A complete archive ends in the
// same way.
func TestArchiveCut(t *testing.T) {
	t.Parallel()
	ok, err := plist.Encode(plist.Dict{"Status": statusOK}, plist.Binary)
	if err != nil {
		t.Fatal(err)
	}
	head := append([]byte{1, 0, 0, 0, byte(len(ok))}, ok...)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := writeTar(w, []archiveFile{{"a", make([]byte, 2000)}, {"b", make([]byte, 300)}},
		time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 512, 1000, 1536, 2500, archive.Len()} {
		in := binary.LittleEndian.AppendUint32(append(bytes.Clone(head), 3), uint32(n))
		in = append(in, archive.Bytes()[:n]...)
		got, err := clientOf(t, in).CreateArchive(t.Context(), io.Discard, ArchiveOptions{})
		whole := n == archive.Len()
		if whole != (err == nil) {
			t.Errorf("%d of %d bytes: %d, %v", n, archive.Len(), got, err)
		}
		if !whole && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v, want io.ErrUnexpectedEOF", n, archive.Len(), err)
		}
	}
}
