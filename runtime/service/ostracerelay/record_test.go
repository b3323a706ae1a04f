package ostracerelay

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

// goldenRecord is the example of the protocol sheet: pid 1, /sbin/launchd, image
// /usr/lib/libx, message "hi", no label. The fields that the example does not define
// have values that show their position.
var goldenRecord = unhex(`
	02 A0000000
	02 08000000 81000000 01000000 0100000000000000
	101112131415161718191A1B1C1D1E1F
	0E00 0000000000000000 0000000000000000
	00F1536500000000 40E20100
	04 00 0000 00000000
	8877665544332211 2A00000000000000
	202122232425262728292A2B2C2D2E2F
	0E00 03000000 00000000 00000000 00000000 00000000` +
	hex.EncodeToString([]byte("/sbin/launchd\x00/usr/lib/libx\x00hi\x00")))

var goldenEntry = Entry{
	Time: time.Unix(1700000000, 123456000).UTC(), PID: 1,
	ProcessPath: "/sbin/launchd", ImagePath: "/usr/lib/libx", Message: "hi", Kind: KindLog,
	ProcessUUID: [16]byte(unhex("101112131415161718191A1B1C1D1E1F")),
	ImageUUID:   [16]byte(unhex("202122232425262728292A2B2C2D2E2F")),
	ThreadID:    42, MachTime: 0x1122334455667788,
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// wantDecoded checks what a record decodes to.
func wantDecoded(t *testing.T, b []byte, want Entry) {
	t.Helper()
	var e Entry
	if err := new(decoder).decode(b, &e); err != nil {
		t.Errorf("decode: %v", err)
	}
	if e != want {
		t.Errorf("decode = %+v, want %+v", e, want)
	}
}

func TestRecordGolden(t *testing.T) {
	t.Parallel()
	if got := appendRecord(nil, &goldenEntry); !bytes.Equal(got, goldenRecord) {
		t.Errorf("appendRecord = % X\nwant % X", got, goldenRecord)
	}
	wantDecoded(t, goldenRecord[frameHead:], goldenEntry)

}

// TestLabelLengths checks that the lengths of subsystem and category have 16 bits. The
// bytes that follow them are not zero on some devices.
func TestLabelLengths(t *testing.T) {
	t.Parallel()
	want := goldenEntry
	want.Subsystem, want.Category = "com.apple.x", "c"
	b := appendRecord(nil, &want)[frameHead:]
	for _, off := range []int{offSubLen + 2, offCatLen + 2} {
		binary.LittleEndian.PutUint16(b[off:], 0xBEEF)
	}
	wantDecoded(t, b, want)
}

func TestRecordLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 60000)
	for _, tc := range []struct {
		name string
		in   Entry
		want func(Entry) bool
	}{
		{
			"empty strings keep their NUL", Entry{},
			func(e Entry) bool { return e.Message == "" && e.Subsystem == "" },
		},
		{
			"subsystem alone sends both", Entry{Subsystem: "s"},
			func(e Entry) bool { return e.Subsystem == "s" && e.Category == "" },
		},
		{
			"NUL ends a string", Entry{Message: "a\x00b", ProcessPath: "/p\x00q"},
			func(e Entry) bool { return e.Message == "a" && e.ProcessPath == "/p" },
		},
		{"long message is cut between characters", Entry{
			Message: long, Subsystem: long, ProcessPath: long,
		}, func(e Entry) bool {
			return len(e.Message) > 60000 && strings.HasPrefix(long, e.Message) &&
				strings.HasPrefix(long, e.ProcessPath)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := appendRecord(nil, &tc.in)
			n := len(b) - frameHead
			if n > maxSentRecord {
				t.Fatalf("record of %d bytes, want at most %d", n, maxSentRecord)
			}
			if framed := binary.LittleEndian.Uint32(b[1:]); n != int(framed) {
				t.Fatalf("record of %d bytes, framed as %d", n, framed)
			}
			body := b[frameHead:]
			sub, cat := binary.LittleEndian.Uint16(
				body[offSubLen:],
			), binary.LittleEndian.Uint16(body[offCatLen:])
			if (sub == 0) != (cat == 0) {
				t.Errorf("subsystem of %d bytes and category of %d: want both or none", sub, cat)
			}
			if binary.LittleEndian.Uint16(body[offPathLen:]) == 0 {
				t.Error("the path has no bytes, not even the NUL")
			}
			if n := binary.LittleEndian.Uint32(body[offMsgLen:]); n > 65535 {
				t.Errorf("a message of %d bytes, want at most 65535", n)
			}
			var e Entry
			err := new(decoder).decode(body, &e)
			if err != nil {
				t.Errorf("decode: %v", err)
			}
			if !tc.want(e) {
				t.Errorf("decode: message of %d bytes, path of %d", len(e.Message),
					len(e.ProcessPath))
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	change := func(off int, v ...byte) []byte {
		b := bytes.Clone(goldenRecord[frameHead:])
		copy(b[off:], v)
		return b
	}
	for _, tc := range []struct {
		name string
		in   []byte
	}{
		{"empty", nil},
		{"header cut", goldenRecord[frameHead:100]},
		{"no marker", change(offMarker, 3)},
		{"header before its end", change(offHeader, 0x10)},
		{"header beyond the record", change(offHeader, 0xFF, 0xFF, 0xFF, 0xFF)},
		{"path beyond the record", change(offPathLen, 0xFF, 0xFF)},
		{"message beyond the record", change(offMsgLen, 0xFF, 0xFF, 0xFF, 0xFF)},
		{"category beyond the record", change(offCatLen, 1)},
		{"time overflows", change(offSeconds, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)},
	} {
		var e Entry
		if err := new(decoder).decode(tc.in, &e); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: decode = %v, want ErrRecord", tc.name, err)
		}
	}
}
