package dtx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
)

const fixtures = "testdata/go-ios/"

// expected is what the JSON file beside a fixture says.
type expected struct {
	Size     int
	Messages []struct {
		Offset       int
		ID, Conv     uint32
		Channel      int32
		ExpectsReply bool   `json:"expects_reply"`
		Type         Type   `json:"type"`
		TypeWord     uint32 `json:"type_word"`
		AuxLen       int    `json:"aux_len"`
		PayloadLen   int    `json:"payload_len"`
		AuxCapacity  uint32 `json:"aux_capacity"`
		Args         []map[string]json.RawMessage
		Selector     string
		Payload      json.RawMessage
	}
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(fixtures + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fixtureNames(t testing.TB) []string {
	t.Helper()
	list, err := filepath.Glob(fixtures + "*.expected.json")
	if err != nil || len(list) != 9 {
		t.Fatalf("%d fixtures, %v", len(list), err)
	}
	for i, p := range list {
		list[i] = strings.TrimSuffix(filepath.Base(p), ".expected.json")
	}
	return list
}

// TestFixtures decodes traffic of Apple's programs and compares every field,
// argument and payload with what was written down about it elsewhere. Encoding
// the messages again must give the same bytes, argument lists included.
func TestFixtures(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture(t, name)
			var want expected
			if err := json.Unmarshal(fixture(t, name+".expected.json"), &want); err != nil {
				t.Fatal(err)
			}
			if len(b) != want.Size {
				t.Fatalf("%d bytes, want %d", len(b), want.Size)
			}
			at := 0
			var again []byte
			for i, w := range want.Messages {
				m, n, err := Decode(b[at:])
				if err != nil {
					t.Fatalf("message %d at %d: %v", i, at, err)
				}
				if at != w.Offset || m.ID != w.ID || m.Conversation != w.Conv ||
					m.Channel != w.Channel || m.ExpectsReply != w.ExpectsReply ||
					m.Type != w.Type || m.TypeFlags|uint32(m.Type) != w.TypeWord ||
					len(m.Aux) != w.AuxLen || len(m.Payload) != w.PayloadLen {
					t.Fatalf("message %d at %d = %+v, want %+v", i, at, m, w)
				}
				checkArgs(t, m, w.AuxCapacity, w.Args)
				checkPayload(t, m, w.Selector, w.Payload)
				again = Append(again, m)
				at += n
			}
			if at != len(b) {
				t.Errorf("%d bytes left over", len(b)-at)
			}
			if !bytes.Equal(again, b) {
				t.Error("encoding the messages again gives other bytes")
			}
		})
	}
}

func checkArgs(t *testing.T, m *Message, capacity uint32, want []map[string]json.RawMessage) {
	t.Helper()
	args, err := DecodeArgs(m.Aux)
	if err != nil || len(args) != len(want) {
		t.Fatalf("message %d: %d arguments, %v, want %d", m.ID, len(args), err, len(want))
	}
	if again := AppendArgs(nil, args); !bytes.Equal(again, m.Aux) {
		t.Errorf("message %d: AppendArgs = % x, want % x", m.ID, again, m.Aux)
	}
	if len(args) > 0 && binary.LittleEndian.Uint32(m.Aux) != capacity {
		t.Errorf("message %d: capacity %d, want %d", m.ID, binary.LittleEndian.Uint32(m.Aux),
			capacity)
	}
	for i, a := range args {
		kind := map[ArgKind]string{ArgBuffer: "archive", ArgInt32: "int32"}[a.Kind]
		v, err := a.Value(nil)
		if err != nil {
			t.Fatal(err)
		}
		checkValue(t, v, want[i][kind])
	}
}

func checkPayload(t *testing.T, m *Message, selector string, want json.RawMessage) {
	t.Helper()
	if m.Type == Dispatch {
		if v, err := nskeyed.Decode(m.Payload); err != nil || v != selector {
			t.Errorf("message %d: selector %v, %v, want %s", m.ID, v, err, selector)
		}
		return
	}
	if len(m.Payload) == 0 {
		return
	}
	v, kind, err := nskeyed.Unarchive(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if kind == nskeyed.Raw {
		sum := sha256.Sum256(m.Payload)
		v = rawJSON(fmt.Sprintf(`{"$raw": {"len": %d, "sha256": "%x", "head": "%x"}}`,
			len(m.Payload), sum, m.Payload[:16]))
	}
	checkValue(t, v, want)
}

type rawJSON string

// checkValue compares the JSON text of a value with the one expected, of which
// large ones give the length and the beginning.
func checkValue(t *testing.T, v any, want json.RawMessage) {
	t.Helper()
	var summary struct {
		Summary *struct {
			Chars int `json:"json_chars"`
			Head  string
		} `json:"$summary"`
	}
	got := text(v)
	if json.Unmarshal(want, &summary) == nil && summary.Summary != nil {
		if s := summary.Summary; len([]rune(got)) != s.Chars || !strings.HasPrefix(got, s.Head) {
			t.Errorf("value of %d characters, %.300s, want %d, %s", len([]rune(got)), got, s.Chars,
				s.Head)
		}
		return
	}
	if got != string(want) {
		t.Errorf("value %s, want %s", got, want)
	}
}

// text writes a value in the notation of the expected files.
func text(v any) string {
	list := func(before string, items []any, after string) string {
		out := make([]string, len(items))
		for i, item := range items {
			out[i] = text(item)
		}
		return before + strings.Join(out, ", ") + after
	}
	switch v := v.(type) {
	case rawJSON:
		return string(v)
	case nil:
		return "null"
	case string:
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(v)
		return strings.TrimSuffix(b.String(), "\n")
	case float64:
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if v != 0 && v < 1e-4 && v > -1e-4 {
			return strconv.FormatFloat(v, 'e', -1, 64)
		}
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	case nskeyed.Date:
		return `{"$date": ` + text(float64(v)) + "}"
	case []byte:
		if len(v) <= 32 {
			return `{"$data": "` + hex.EncodeToString(v) + `"}`
		}
		return fmt.Sprintf(`{"$data_len": %d, "sha256": "%x"}`, len(v), sha256.Sum256(v))
	case nskeyed.UUID:
		return `{"$uuid": "` + strings.ToLower(v.String()) + `"}`
	case []any:
		return list("[", v, "]")
	case nskeyed.Set:
		return list(`{"$set": [`, v, "]}")
	case nskeyed.Null:
		return `{"$NSNull": true}`
	case nskeyed.Dict:
		out := make([]string, len(v))
		for i, p := range v {
			out[i] = text(p.Key) + ": " + text(p.Value)
		}
		return "{" + strings.Join(out, ", ") + "}"
	case *nskeyed.Object:
		s := `{"$class": ` + text(v.Class())
		for _, f := range v.Fields {
			s += ", " + text(f.Key) + ": " + text(f.Value)
		}
		return s + "}"
	}
	return fmt.Sprint(v)
}

// TestPrefixes checks that every strict prefix of a message is incomplete, not
// wrong, however the reads fall.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"notifyOfPublishedCapabilites", "requestChannelWithCodeIdentifier.bin",
		"fragmentedmessage.bin",
	} {
		b := fixture(t, name)
		step := 1
		if len(b) > 4096 {
			step = 509
		}
		for n := 0; n < len(b); n += step {
			if m, _, err := Decode(b[:n]); m != nil || !errors.Is(err, ErrIncomplete) ||
				!errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: Decode of %d bytes = %v, %v, want ErrIncomplete", name, n, m, err)
			}
		}
		m, err := NewReader(iotest.OneByteReader(bytes.NewReader(b))).Read()
		if err != nil || !bytes.Equal(Append(nil, m), b) {
			t.Errorf("%s: byte by byte: %v", name, err)
		}
	}
	if _, err := NewReader(bytes.NewReader(nil)).Read(); err != io.EOF {
		t.Errorf("Read of nothing: %v, want io.EOF", err)
	}
}

// patched is bytes with some of them replaced: pairs of offset and value, each
// a little-endian u32.
func patched(b []byte, at ...uint32) []byte {
	b = bytes.Clone(b)
	for i := 0; i < len(at); i += 2 {
		binary.LittleEndian.PutUint32(b[at[i]:], at[i+1])
	}
	return b
}

func TestDecodeRefusals(t *testing.T) {
	t.Parallel()
	ack := Append(nil, &Message{ID: 3, Conversation: 1, Channel: 2})
	parts := Append(nil, &Message{ID: 3, Type: Data, Payload: make([]byte, fragmentBody+1)})
	first, second, third := parts[:32], parts[32:32+65536], parts[32+65536:]
	join := func(p ...[]byte) []byte { return bytes.Join(p, nil) }
	many := make([]byte, 0, (MaxAssemblies+1)*HeaderSize)
	for i := range MaxAssemblies + 1 {
		many = append(many, patched(first, 16, uint32(i))...)
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"magic", patched(ack, 0, 0x1F3D5B78), ErrMagic},
		{"short header", patched(ack, 4, 31), ErrHeader},
		{"endless header", patched(ack, 4, 0xFFFFFFFF), ErrTooLarge},
		{"index over count", patched(ack, 8, 0x00010001), ErrFragment},
		{"no fragments", patched(ack, 8, 0), ErrFragment},
		{"empty body", patched(ack, 12, 0), ErrSizes},
		{"huge body", patched(ack, 12, 0xFFFFFFFF), ErrTooLarge},
		{"total too long", patched(ack, 40, 1), ErrSizes},
		{"total wraps", patched(ack, 40, 0xFFFFFFF0), ErrSizes},
		{"arguments over total", patched(ack, 36, 1), ErrSizes},
		{"arguments over total by far", patched(ack, 36, 0xFFFFFFFF), ErrSizes},
		{"begins in the middle", second, ErrFragment},
		{"begins twice", join(first, first), ErrFragment},
		{"fragment twice", join(first, second, second), ErrFragment},
		{"fragment left out", join(first, third), ErrFragment},
		{"count changes", join(first, patched(second, 8, 0x00040001)), ErrFragment},
		{"fragments too short", join(patched(first, 12, 70000), second, third), ErrSizes},
		{
			"fragments too long",
			join(patched(first, 12, 65600), second, patched(third, 12, 0xFFFF)), ErrSizes,
		},
		{"fragment huge", join(first, patched(second, 12, 0xFFFFFFFF)), ErrTooLarge},
		{"too many at once", many, ErrTooLarge},
		{
			"all fragments tiny",
			join(patched(first, 8, 0xFFFF0000), patched(ack[:48], 8, 0xFFFF0001)), ErrFragment,
		},
	} {
		m, _, err := Decode(c.b)
		if m != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, m, err, c.want)
		}
		var own *Error
		if !errors.As(err, &own) || !strings.HasPrefix(err.Error(), "dtx: ") {
			t.Errorf("%s: error %v is no *Error of dtx", c.name, err)
		}
	}
}

// TestOddHeaders accepts what some peers send.
func TestOddHeaders(t *testing.T) {
	t.Parallel()
	// One host repeats in the type that it expects a reply; iOS 10 sends 0x1003.
	b := patched(Append(nil, &Message{ID: 1, ExpectsReply: true, Payload: []byte("x")}), 32, 0x1002,
		28, 0xFFFFFFFF)
	m, _, err := Decode(b)
	if err != nil || m.Type != Dispatch || m.TypeFlags != 0x1000 || !m.ExpectsReply {
		t.Errorf("type 0x1002: %+v, %v", m, err)
	}
	// A header may be longer than known.
	b = Append(nil, &Message{ID: 7, Payload: []byte("x")})
	long := patched(append(append(bytes.Clone(b[:32]), 1, 2, 3, 4), b[32:]...), 4, 36)
	if m, n, err := Decode(long); err != nil || m.ID != 7 || string(m.Payload) != "x" ||
		n != len(long) {
		t.Errorf("long header: %+v, %d, %v", m, n, err)
	}
}

// TestInterleaved mixes the fragments of messages that share an id.
func TestInterleaved(t *testing.T) {
	t.Parallel()
	var parts [3][][]byte
	var want [3]*Message
	for i := range parts {
		want[i] = &Message{
			ID: 5, Channel: int32(i - 1), Type: Data,
			Payload: bytes.Repeat([]byte{byte(i)}, 100_000+i),
		}
		b := Append(nil, want[i])
		parts[i] = [][]byte{b[:32], b[32 : 32+65536], b[32+65536:]}
	}
	var mixed []byte
	for k := range 3 {
		for i := range parts {
			mixed = append(mixed, parts[i][k]...)
		}
	}
	r := NewReader(bytes.NewReader(mixed))
	for i := range want {
		m, err := r.Read()
		if err != nil || m.Channel != want[i].Channel || !bytes.Equal(m.Payload, want[i].Payload) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if r.held != 0 || len(r.parts) != 0 {
		t.Errorf("%d bytes held in %d messages after all were read", r.held, len(r.parts))
	}
}

// TestFragmentSizes checks how messages are cut: the same as devices do, which
// the fragmented fixture shows for one length.
func TestFragmentSizes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ total, count int }{
		{16, 1}, {65504, 1}, {65505, 3}, {2 * 65504, 3}, {2*65504 + 1, 4}, {79643, 3}, {127353, 3},
	} {
		m := &Message{ID: 1, Type: Data, Payload: make([]byte, c.total-16)}
		b := Append(nil, m)
		if got := int(binary.LittleEndian.Uint16(b[10:])); got != c.count ||
			len(b) != c.total+32*c.count {
			t.Errorf("%d bytes: %d fragments in %d bytes, want %d", c.total, got, len(b), c.count)
		}
		if again, n, err := Decode(b); err != nil || n != len(b) ||
			len(again.Payload) != len(m.Payload) {
			t.Errorf("%d bytes: %v", c.total, err)
		}
	}
}

// endless declares what never comes.
type endless struct{ head []byte }

func (e *endless) Read(p []byte) (int, error) {
	if len(e.head) == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.head)
	e.head = e.head[n:]
	return n, nil
}

// TestDeclaredLength reserves no memory for bytes that do not come.
func TestDeclaredLength(t *testing.T) {
	head := patched(Append(nil, &Message{ID: 1}), 12, MaxMessage)
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := NewReader(&endless{head}).Read(); !errors.Is(err, ErrIncomplete) {
				b.Fatal(err)
			}
		}
	})
	if n := result.AllocedBytesPerOp(); n == 0 || n > 1<<20 {
		t.Errorf("%d bytes taken for a message that is not there", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range fixtureNames(f) {
		b := fixture(f, name)
		f.Add(b[:min(len(b), 4096)])
	}
	f.Add(Append(nil, &Message{ID: 1, Channel: -3, Type: Data, Payload: make([]byte, 70000)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			m, err := r.Read()
			if err != nil {
				return
			}
			again, _, err := Decode(Append(nil, m))
			if err != nil || again.ID != m.ID || again.Type != m.Type ||
				!bytes.Equal(again.Aux, m.Aux) || !bytes.Equal(again.Payload, m.Payload) {
				t.Fatalf("%+v becomes %+v, %v", m, again, err)
			}
			if args, err := DecodeArgs(m.Aux); err == nil {
				if twice, err := DecodeArgs(AppendArgs(nil, args)); err != nil ||
					len(twice) != len(args) {
					t.Fatalf("%d arguments become %d, %v", len(args), len(twice), err)
				}
			}
			_, _ = m.Object(nil)
		}
	})
}
