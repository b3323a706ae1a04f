package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

const requireBytes = `local bytes, bit = require("imd.bytes"), require("imd.bit")
`

func TestBytes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, want string }{
		{`bytes.pack("<i8", int64("-9223372036854775808")):hex()`, "0000000000000080"},
		{`bytes.unpack(">J", ("\255"):rep(8))`, "18446744073709551615\t9"},
		{
			`bytes.unpack("<j", bytes.pack("<j", int64("-9007199254740993")))`,
			"-9007199254740993\t9",
		},
		{`bytes.unpack("<i16", bytes.pack("<i16", -2))`, "-2\t17"},
		{`bytes.pack("!4 b Xi4 h z", 1, 2, "a"):hex()`, "0100000002006100"},
		{`bytes.unpack("=f d n", bytes.pack("=f d n", 0.5, 0.25, -0))`, "0.5\t0.25\t0\t21"},
		{`bytes.unpack("b", "ab", -1)`, "98\t3"},
		{`#bytes.pack("")`, "0"},
		{`bytes.unpack("", "")`, "1"},
		{`bytes.reader("\1\2\3\4"):i32be()`, "16909060"},
		{`bytes.reader(""):bytes():hex()`, ""},
		{`bytes.writer():u64le(uint64("18446744073709551615")):cstring("x"):data():hex()`,
			"ffffffffffffffff7800"},
		{`bytes.hexdump("")`, ""},
		{`bit.band(uint64("0xffffffffffffffff"), -2)`, "18446744073709551614"},
		{`bit.lshift(int64(1), 63)`, "-9223372036854775808"},
		{`bit.arshift(int64(-8), 1), bit.rshift(uint64(8), 1), bit.bnot(uint64(0)):hex()`,
			"-4\t4\t0xffffffffffffffff"},
		{`bit.bswap(int64(1)):hex(), bit.rol(0x12345678, 8), bit.tohex(uint64(255))`,
			"0x100000000000000\t878082066\t00000000000000ff"},
		{`bit.bor(2^31), bit.extract(-1, 0, 32)`, "-2147483648\t4294967295"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			prints(t, requireBytes+"print("+tc.source+")", tc.want+"\n")
		})
	}
}

func TestBytesErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, text string }{
		{`bytes.pack("b", 128)`, "argument", "signed integer of 1 byte"},
		{`bytes.pack("J", -1)`, "argument", "unsigned integer of 8 bytes"},
		{`bytes.pack("i4", 1.5)`, "argument", "integer representation"},
		{`bytes.pack("i4")`, "argument", "more items"},
		{`bytes.pack("i4", 1, 2)`, "argument", "only 1 items"},
		{`bytes.pack("i17", 1)`, "format", "size 17"},
		{`bytes.pack("q", 1)`, "format", `"q"`},
		{`bytes.pack("X")`, "format", "no letter"},
		{`bytes.pack("Xz")`, "format", "no alignment"},
		{`bytes.pack("!i3", 1)`, "format", "power of 2"},
		{`bytes.pack("z", "a\0")`, "argument", "byte 2"},
		{`bytes.pack("s1", ("x"):rep(256))`, "argument", "256 bytes"},
		{`bytes.packsize("s")`, "format", "depends"},
		{
			`bytes.unpack("<i4", "abc")`, "eof",
			"an integer at offset 0 takes 4 bytes, and 3 are left",
		},
		{`bytes.unpack("<s", ("\255"):rep(8))`, "eof", "18446744073709551615"},
		{`bytes.unpack("z", "abc")`, "eof", "no zero"},
		{`bytes.unpack("<I9", ("\255"):rep(9))`, "decode", "64 bits"},
		{`bytes.unpack(("b"):rep(300), ("x"):rep(300))`, "too_large", "200"},
		{`bytes.unpack("b", "x", 3)`, "argument", "position 3"},
		{`bytes.reader("abc"):skip(4)`, "eof", "4 bytes"},
		{`bytes.reader("abc"):seek(4)`, "eof", "offset 4"},
		{`bytes.writer():u8("x")`, "argument", "integer expected"},
		{`bytes.writer():skip(4e9)`, "memory", ""},
		{`bytes.hexdump("x", { width = 0 })`, "argument", "1 to 256"},
		{`bytes.hexdump(("x"):rep(1e7), { width = 1 })`, "memory", ""},
		{`bit.band("1")`, "argument", "integer expected"},
		{`bit.test(1, -1)`, "argument", "0 to 31"},
		{`bit.test(1, 32)`, "argument", "0 to 31"},
		{`bit.extract(1, 30, 3)`, "argument", "width 3"},
		{`bit.tohex(1, 0)`, "argument", "digits"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			o := host.Options{MaxString: 100 << 20}
			fails(t, o, requireBytes+tc.source, tc.code, tc.text)
		})
	}
}
