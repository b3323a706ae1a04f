package afc

import (
	"context"
	"crypto/sha1"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// step is a request and the expected answer: a status, or an operation with its body.
type step struct {
	name          string
	op            Opcode
	head, payload string
	status        Status
	want          Opcode // 0 is opStatus
	body          string // body of the answer
}

// run performs the steps on one connection and compares each answer exactly.
func run(t *testing.T, c net.Conn, steps []step) {
	t.Helper()
	for i, s := range steps {
		num := uint64(i) * 3
		h, body := exchange(t, c, packet(num, s.op, s.head, s.payload))
		want, wantBody := s.want, s.body
		if want == 0 {
			want, wantBody = opStatus, u64(uint64(s.status))
		}
		this := uint64(headerLen + len(wantBody))
		if want == opData {
			this = headerLen
		}
		wantHeader := header{
			entire: uint64(headerLen + len(wantBody)), this: this, packet: num, op: want,
		}
		if h != wantHeader {
			t.Fatalf("%s: answer %+v, want %+v", s.name, h, wantHeader)
		}
		if body != wantBody {
			t.Fatalf("%s: body %q, want %q", s.name, body, wantBody)
		}
	}
}

func tree(t *testing.T) *files.FS {
	t.Helper()
	f := newFS()
	must(t, f.Mkdir("/DCIM/100APPLE"))
	must(t, f.Mkdir("/empty"))
	must(t, f.WriteFile("/DCIM/100APPLE/IMG_1.HEIC", []byte("heic")))
	must(t, f.WriteFile("/DCIM/b.txt", []byte("0123456789")))
	must(t, f.Symlink("DCIM/b.txt", "/link"))
	return f
}

func TestDevicePaths(t *testing.T) {
	t.Parallel()
	c := servicetest.Conn(t, &Device{FS: tree(t), Model: "iPhone12,8"})
	mtime := u64(1591588092361862409)
	data := func(name string, op Opcode, head, body string) step {
		return step{name: name, op: op, head: head, want: opData, body: body}
	}
	status := func(name string, op Opcode, head string, s Status) step {
		return step{name: name, op: op, head: head, status: s}
	}
	sha := func(s string) string { h := sha1.Sum([]byte(s)); return string(h[:]) }
	run(t, c, []step{
		data("list", opReadDir, "/DCIM\x00", ".\x00..\x00100APPLE\x00b.txt\x00"),
		data("list, path unterminated", opReadDir, "DCIM", ".\x00..\x00100APPLE\x00b.txt\x00"),
		data("list an empty directory", opReadDir, "./empty/", ".\x00..\x00"),
		data("list the root", opReadDir, "", ".\x00..\x00empty\x00DCIM\x00link\x00"),
		status("list a file", opReadDir, "/DCIM/b.txt\x00", ReadError),
		status("list nothing", opReadDir, "/none\x00", NotFound),
		status("leave the root", opReadDir, "/../..\x00", PermissionDenied),
		data("stat", opGetFileInfo, "/DCIM/b.txt",
			"st_size\x0010\x00st_blocks\x008\x00st_nlink\x001\x00st_ifmt\x00S_IFREG\x00st_mtime\x001700000000123456789\x00st_birthtime\x001700000000123456789\x00"),
		data("stat a link", opGetFileInfo, "link\x00",
			"st_size\x0010\x00st_blocks\x000\x00st_nlink\x001\x00st_ifmt\x00S_IFLNK\x00st_mtime\x001700000000123456789\x00st_birthtime\x001700000000123456789\x00LinkTarget\x00DCIM/b.txt\x00"),
		status("stat nothing", opGetFileInfo, "/DCIM/c.txt\x00", NotFound),
		data("device", opGetDeviceInfo, "",
			"Model\x00iPhone12,8\x00FSTotalBytes\x001073741824\x00FSFreeBytes\x001073733632\x00FSBlockSize\x004096\x00"),
		data("connection", opConnectionInfo, "", "Version\x001\x00ExtendedStatus\x001\x00"),
		{name: "options", op: opSetOptions, payload: "a\x00b\x00"},
		status("block size", opFSBlockSize, u64(0x800000), Success),
		status("socket block size", opSocketBlockSize, u64(0x800000), Success),
		status("truncate", opTruncate, u64(4)+"/DCIM/b.txt", Success),
		data("hash", opHash, "/DCIM/b.txt\x00", sha("0123")),
		data("hash of a range", opHashRange, u64(1, 2)+"/DCIM/b.txt\x00", sha("12")),
		data("hash of a range beyond the end", opHashRange, u64(3, 99)+"/DCIM/b.txt\x00", sha("3")),
		status("hash without a path", opHashRange, u64(3), InvalidArgument),
		status("hash of a directory", opHash, "/DCIM", IsDirectory),
		status("truncate to nonsense", opTruncate, u64(math.MaxUint64)+"/DCIM/b.txt",
			InvalidArgument),
		status("truncate a directory", opTruncate, u64(4)+"/DCIM", IsDirectory),
		status("make directories", opMakeDir, "/a/b/c\x00", Success),
		status("make them again", opMakeDir, "/a/b/c\x00", Success),
		status("make over a file", opMakeDir, "/DCIM/b.txt", Exists),
		status("remove a full directory", opRemove, "/a", NotEmpty),
		status("remove", opRemove, "/a/b/c", Success),
		status("remove again", opRemove, "/a/b/c", NotFound),
		status("remove all", opRemoveAll, "/a\x00", Success),
		status("remove all again", opRemoveAll, "/a\x00", NotFound),
		status("remove the root", opRemove, "/", PermissionDenied),
		status("remove all of the root", opRemoveAll, "", PermissionDenied),
		status("rename", opRename, "/DCIM/b.txt\x00/c.txt", Success),
		status("rename nothing", opRename, "/DCIM/b.txt\x00/c.txt\x00", NotFound),
		status("rename onto a directory", opRename, "/c.txt\x00/empty\x00", Exists),
		status("rename onto the root", opRename, "/c.txt", Exists),
		status("symbolic link", opMakeLink, u64(linkSym)+"../etc/passwd\x00/out\x00", Success),
		status("it leads nowhere", opOpen, u64(1)+"/out\x00", PermissionDenied),
		status("hard link", opMakeLink, u64(linkHard)+"/c.txt\x00/d.txt\x00", Success),
		status("link where something is", opMakeLink, u64(linkSym)+"x\x00/d.txt\x00", Exists),
		status("other link", opMakeLink, u64(3)+"x\x00/e.txt\x00", InvalidArgument),
		status("link without a type", opMakeLink, "x", InvalidArgument),
		data("hard link counted", opGetFileInfo, "d.txt",
			"st_size\x004\x00st_blocks\x008\x00st_nlink\x002\x00st_ifmt\x00S_IFREG\x00st_mtime\x001700000000123456789\x00st_birthtime\x001700000000123456789\x00"),
		status("set time", opSetModTime, mtime+"/d.txt\x00", Success),
		data("time set", opGetFileInfo, "c.txt",
			"st_size\x004\x00st_blocks\x008\x00st_nlink\x002\x00st_ifmt\x00S_IFREG\x00st_mtime\x001591588092361862409\x00st_birthtime\x001700000000123456789\x00"),
		status("set time beyond time", opSetModTime, u64(math.MaxUint64)+"/d.txt\x00",
			InvalidArgument),
		data("size of contents", opSizeOfContents, "/d.txt", "st_size\x004\x00st_blocks\x008\x00"),
		data("size of a tree", opSizeOfContents, "/DCIM", "st_size\x00196\x00st_blocks\x008\x00"),
		status("unknown operation", 0x99, "", NotSupported),
		status("operation 0", 0, "", NotSupported),
		status("an answer as request", opStatus, u64(0), NotSupported),
		{
			name: "unused operation with data", op: 0x05, head: "x",
			payload: strings.Repeat("d", 3*maxArguments), status: NotSupported,
		},
		{
			name: "a path too long to be one", op: opReadDir,
			head: strings.Repeat("d", 3*maxArguments), status: TooMuchData,
		},
		status("a long path", opReadDir, strings.Repeat("d", 2000), InvalidArgument),
		data("still there", opReadDir, "empty", ".\x00..\x00"),
	})
}

func TestDeviceHandles(t *testing.T) {
	t.Parallel()
	c := servicetest.Conn(t, &Device{FS: tree(t), Model: "iPhone12,8"})
	status := func(name string, op Opcode, head, payload string, s Status) step {
		return step{name: name, op: op, head: head, payload: payload, status: s}
	}
	opened := func(name string, m Mode, path string, ref uint64) step {
		return step{
			name: name, op: opOpen, head: u64(uint64(m)) + path, want: opOpenResult, body: u64(ref),
		}
	}
	data := func(name string, op Opcode, head, body string) step {
		return step{name: name, op: op, head: head, want: opData, body: body}
	}
	tell := func(ref, pos uint64) step {
		return step{name: "tell", op: opTell, head: u64(ref), want: opTellResult, body: u64(pos)}
	}
	minus := func(n int64) uint64 { return uint64(-n) }
	run(t, c, []step{
		status("open nothing", opOpen, u64(1)+"/none\x00", "", NotFound),
		status("open a directory", opOpen, u64(1)+"/DCIM\x00", "", IsDirectory),
		status("open in mode 0", opOpen, u64(0)+"/n\x00", "", InvalidArgument),
		status("open in mode 7", opOpen, u64(7)+"/n\x00", "", InvalidArgument),
		status("open without a mode", opOpen, "/n\x00", "", InvalidArgument),
		opened("open", ModeRead, "/DCIM/b.txt", 1),
		data("read", opRead, u64(1, 4), "0123"),
		tell(1, 4),
		data("read to the end", opRead, u64(1, 1<<20), "456789"),
		data("read at the end", opRead, u64(1, 1<<20), ""),
		data("read nothing", opRead, u64(1, 0), ""),
		status("write to it", opWrite, u64(1), "x", PermissionDenied),
		tell(1, 10),
		status("seek", opSeek, u64(1, 2, minus(3)), "", Success),
		tell(1, 7),
		status("seek on", opSeek, u64(1, 1, 1), "", Success),
		tell(1, 8),
		status("seek to before the beginning", opSeek, u64(1, 1, minus(9)), "", InvalidArgument),
		status("seek from somewhere else", opSeek, u64(1, 3, 0), "", InvalidArgument),
		status("seek beyond counting", opSeek, u64(1, 1, math.MaxInt64), "", InvalidArgument),
		status("seek with little", opSeek, u64(1, 1), "", InvalidArgument),
		tell(1, 8),
		status("seek beyond the end", opSeek, u64(1, 0, 1<<40), "", Success),
		data("read there", opRead, u64(1, 1<<62), ""),
		data("read at", opReadAt, u64(1, 2, 3), "234"),
		status("read at nonsense", opReadAt, u64(1, math.MaxUint64, 3), "", InvalidArgument),
		opened("open r+ makes", ModeReadWrite, "/new", 2),
		status("write", opWrite, u64(2), "abc", Success),
		status("write all in the header payload", opWrite, u64(2)+"def", "", Success),
		status("write with the handle in the payload", opWrite, "", u64(2)+"ghi", Success),
		status("write nothing", opWrite, u64(2), "", Success),
		tell(2, 9),
		status("write at", opWriteAt, u64(2, 1), "BC", Success),
		tell(2, 9),
		data("it is there", opReadAt, u64(2, 0, 99), "aBCdefghi"),
		status("set size", opSetSize, u64(2, 2), "", Success),
		status("write behind the end", opWrite, u64(2), "!", Success),
		data("zeros between", opReadAt, u64(2, 0, 99), "aB\x00\x00\x00\x00\x00\x00\x00!"),
		status("set size to nonsense", opSetSize, u64(2, math.MaxUint64), "", InvalidArgument),
		opened("append", ModeAppend, "/new", 3),
		status("seek in it", opSeek, u64(3, 0, 0), "", Success),
		status("writes go to the end all the same", opWrite, u64(3), "end", Success),
		tell(3, 13),
		status("read what is for writing", opRead, u64(3, 0), "", PermissionDenied),
		data("end", opReadAt, u64(2, 9, 99), "!end"),
		opened("w empties", ModeWrite, "/new", 4),
		data("empty", opReadAt, u64(2, 0, 99), ""),
		status("hint", opImmutableHint, u64(4, 1), "", Success),
		status("close", opClose, u64(4), "", Success),
		status("close again", opClose, u64(4), "", InvalidArgument),
		opened("numbers are not given again", ModeRead, "/new", 5),
		status("no such handle", opRead, u64(99, 1), "", InvalidArgument),
		status("write to no handle", opWrite, u64(99), strings.Repeat("x", 700_000),
			InvalidArgument),
		status("write to half a handle", opWrite, "1234", "", InvalidArgument),
		status("write at half an offset", opWriteAt, u64(2), "1234", InvalidArgument),
		status("write at nonsense", opWriteAt, u64(2, math.MaxUint64), "1234", InvalidArgument),
		{name: "directory", op: opDirOpen, head: "/DCIM", want: opDirOpenResult, body: u64(6)},
		data("its names", opDirRead, u64(6), ".\x00..\x00100APPLE\x00b.txt\x00"),
		data("no more", opDirRead, u64(6), ""),
		status("read it as a file", opRead, u64(6, 1), "", InvalidArgument),
		status("close it as a file", opClose, u64(6), "", InvalidArgument),
		status("close a file as it", opDirClose, u64(5), "", InvalidArgument),
		status("close it", opDirClose, u64(6), "", Success),
		status("gone", opDirRead, u64(6), "", InvalidArgument),
		status("open a directory that is none", opDirOpen, "/new", "", ReadError),
	})
}

// TestSplitWrites sends requests byte by byte and several at once, because the
// boundaries of segments must not matter.
func TestSplitWrites(t *testing.T) {
	t.Parallel()
	c := servicetest.Conn(t, &Device{FS: tree(t), Model: "iPhone12,8"})
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	all := packet(math.MaxUint64, opOpen, u64(3)+"/x",
		"") + packet(math.MaxUint64, opWrite, u64(1), "hello") +
		packet(0, opClose, u64(1), "") + packet(5, opReadDir, "/empty", "")
	for i := range len(all) - 50 {
		if _, err := io.WriteString(c, all[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(c, all[len(all)-50:]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		packet uint64
		op     Opcode
		body   string
	}{
		{math.MaxUint64, opOpenResult, u64(1)}, {math.MaxUint64, opStatus, u64(0)},
		{0, opStatus, u64(0)}, {5, opData, ".\x00..\x00"},
	} {
		h, body := answerOf(t, c)
		if h.packet != want.packet {
			t.Errorf("answer to packet %d, want %d", h.packet, want.packet)
		}
		if h.op != want.op {
			t.Errorf("answer %v, want %v", h.op, want.op)
		}
		if body != want.body {
			t.Errorf("answer %q, want %q", body, want.body)
		}
	}
}

// TestBadHeader checks that the device answers an invalid header with a status and
// closes the connection, because the start of the next packet is not known.
func TestBadHeader(t *testing.T) {
	t.Parallel()
	lengths := func(entire, this uint64) string {
		return magic + u64(entire, this, 9, uint64(opReadDir))
	}
	for name, req := range map[string]string{
		"magic":            "CFA6LPAB" + u64(40, 40, 9, uint64(opReadDir)),
		"this over entire": lengths(40, 48),
		"this under 40":    lengths(48, 8),
		"beyond all data":  lengths(math.MaxUint64, 40),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, ended := servicetest.Dial(context.Background(), t,
				&Device{FS: newFS(), Model: "m"})
			h, body := exchange(t, client, req)
			if h.op != opStatus {
				t.Errorf("answer %v, want a status", h.op)
			}
			if h.packet != 9 {
				t.Errorf("answer to packet %d, want 9", h.packet)
			}
			if want := u64(uint64(HeaderInvalid)); body != want {
				t.Errorf("status %q, want %q", body, want)
			}
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection goes on: %v", err)
			}
			var e *Error
			if err := <-ended; !errors.As(err, &e) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// TestHalfPacket checks that Serve returns an error if a client disconnects inside a
// packet, and that the data written before is kept.
func TestHalfPacket(t *testing.T) {
	t.Parallel()
	f := newFS()
	whole := packet(1, opOpen, u64(3)+"/x", "") +
		packet(2, opWrite, u64(1), strings.Repeat("x", 1<<20))
	for _, n := range []int{10, 39, 45, headerLen + 10 + headerLen, 600_000} {
		client, ended := servicetest.Dial(context.Background(), t, &Device{FS: f, Model: "m"})
		go io.Copy(io.Discard, client)
		if _, err := io.WriteString(client, whole[:n]); err != nil {
			t.Fatal(err)
		}
		must(t, link.CloseWrite(client))
		if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v, want an unexpected EOF", n, err)
		}
		client.Close()
	}
	info, err := f.Stat("/x")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size == 0 || info.Size > 600_000 {
		t.Errorf("%d bytes are kept, want 1 to 600000", info.Size)
	}
}

// TestDeclaredGigabyte checks that the device allocates memory only for data that
// arrives, whatever length a write declares.
func TestDeclaredGigabyte(t *testing.T) {
	f := newFS()
	client, ended := servicetest.Dial(context.Background(), t, &Device{FS: f, Model: "m"})
	exchange(t, client, packet(1, opOpen, u64(3)+"/x", ""))
	h := header{entire: headerLen + 8 + 1<<30, this: headerLen + 8, packet: 2, op: opWrite}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := client.Write(append(appendHeader(nil, h), u64(1)+"abc"...)); err != nil {
		t.Fatal(err)
	}
	must(t, link.CloseWrite(client))
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Serve: %v", err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("took %d bytes of memory", took)
	}
	wantFile(t, f.ReadFile, "/x", "abc")
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	f := files.NewFS(nil, 1<<20)
	c := servicetest.Conn(t, &Device{FS: f, Model: "m"})
	run(t, c, []step{
		{name: "open", op: opOpen, head: u64(3) + "/x", want: opOpenResult, body: u64(1)},
		{
			name: "write", op: opWrite, head: u64(1), payload: strings.Repeat("x", 2<<20),
			status: NoSpace,
		},
		{name: "the connection goes on", op: opReadDir, want: opData, body: ".\x00..\x00x\x00"},
		{name: "grow", op: opSetSize, head: u64(1, 1<<40), status: NoSpace},
	})
}

// TestLongRead asks for more than clients do. Only the end of the file may shorten an
// answer.
func TestLongRead(t *testing.T) {
	t.Parallel()
	f := newFS()
	must(t, f.AddSynthetic("/s", 9<<20+123, 7, when))
	want, err := f.ReadFile("/s")
	must(t, err)
	c := servicetest.Conn(t, &Device{FS: f, Model: "m"})
	exchange(t, c, packet(1, opOpen, u64(1)+"/s", ""))
	for _, n := range []int{4 << 20, 16 << 20} {
		piece := want[:min(n, len(want))]
		h, body := exchange(t, c, packet(2, opRead, u64(1, uint64(n)), ""))
		if h.this != headerLen {
			t.Fatalf("read of %d: the header has %d bytes, want %d", n, h.this, headerLen)
		}
		if body != string(piece) {
			t.Fatalf("read of %d: %d bytes that are not the %d of the file", n, len(body),
				len(piece))
		}
		want = want[len(piece):]
	}
}

func TestServeEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	_, ended := servicetest.Dial(ctx, t, &Device{FS: newFS(), Model: "m"})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve: %v, want canceled", err)
	}
}
