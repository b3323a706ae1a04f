package dtx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

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
			m, _, err := Decode(b[:n])
			if m != nil {
				t.Fatalf("%s: Decode of %d bytes = %v beside an error", name, n, m)
			}
			if !errors.Is(err, ErrIncomplete) {
				t.Fatalf("%s: Decode of %d bytes: %v, want ErrIncomplete", name, n, err)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: Decode of %d bytes: %v, want io.ErrUnexpectedEOF", name, n, err)
			}
		}
		m, err := NewReader(iotest.OneByteReader(bytes.NewReader(b))).Read()
		if err != nil {
			t.Errorf("%s: byte by byte: %v", name, err)
			continue
		}
		if again := Append(nil, m); !bytes.Equal(again, b) {
			t.Errorf("%s: byte by byte: %d bytes again, which differ from the %d read", name,
				len(again), len(b))
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
		if m != nil {
			t.Errorf("%s: %v beside an error", c.name, m)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		var own *Error
		if !errors.As(err, &own) {
			t.Errorf("%s: error %v is not an *Error", c.name, err)
		} else if !strings.HasPrefix(err.Error(), "dtx: ") {
			t.Errorf("%s: error %v does not begin with dtx", c.name, err)
		}
	}
}

// TestOddHeaders decodes headers that differ from those of recent devices.
func TestOddHeaders(t *testing.T) {
	t.Parallel()
	// A peer may set the old flag for "expects a reply" in the type: 0x1002. iOS 10 sends
	// 0x1003.
	b := patched(Append(nil, &Message{ID: 1, ExpectsReply: true, Payload: []byte("x")}), 32, 0x1002,
		28, 0xFFFFFFFF)
	m, _, err := Decode(b)
	if err != nil {
		t.Fatalf("type 0x1002: %v", err)
	}
	if m.Type != Dispatch {
		t.Errorf("type 0x1002: type %v, want Dispatch", m.Type)
	}
	if m.TypeFlags != 0x1000 {
		t.Errorf("type 0x1002: flags %#x, want 0x1000", m.TypeFlags)
	}
	if !m.ExpectsReply {
		t.Error("type 0x1002: expects no reply")
	}
	// A header may be longer than known.
	b = Append(nil, &Message{ID: 7, Payload: []byte("x")})
	long := patched(append(append(bytes.Clone(b[:32]), 1, 2, 3, 4), b[32:]...), 4, 36)
	m, n, err := Decode(long)
	if err != nil {
		t.Fatalf("long header: %v", err)
	}
	if m.ID != 7 {
		t.Errorf("long header: id %d, want 7", m.ID)
	}
	if string(m.Payload) != "x" {
		t.Errorf("long header: payload %q, want x", m.Payload)
	}
	if n != len(long) {
		t.Errorf("long header: %d bytes, want %d", n, len(long))
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
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if m.Channel != want[i].Channel {
			t.Fatalf("message %d on channel %d, want %d", i, m.Channel, want[i].Channel)
		}
		if !bytes.Equal(m.Payload, want[i].Payload) {
			t.Fatalf("message %d: the payload of %d bytes differs", i, len(m.Payload))
		}
	}
	if r.held != 0 {
		t.Errorf("%d bytes are held after all were read", r.held)
	}
	if len(r.parts) != 0 {
		t.Errorf("%d messages are held after all were read", len(r.parts))
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
		got := int(binary.LittleEndian.Uint16(b[10:]))
		if got != c.count {
			t.Errorf("%d bytes: %d fragments, want %d", c.total, got, c.count)
		}
		if want := c.total + 32*c.count; len(b) != want {
			t.Errorf("%d bytes: %d on the wire, want %d", c.total, len(b), want)
		}
		again, n, err := Decode(b)
		if err != nil {
			t.Errorf("%d bytes: %v", c.total, err)
			continue
		}
		if n != len(b) {
			t.Errorf("%d bytes: %d are read, want %d", c.total, n, len(b))
		}
		if len(again.Payload) != len(m.Payload) {
			t.Errorf("%d bytes: payload of %d, want %d", c.total, len(again.Payload),
				len(m.Payload))
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
			if err != nil {
				t.Fatalf("%+v again: %v", m, err)
			}
			if again.ID != m.ID {
				t.Fatalf("id %d becomes %d", m.ID, again.ID)
			}
			if again.Type != m.Type {
				t.Fatalf("type %v becomes %v", m.Type, again.Type)
			}
			if !bytes.Equal(again.Aux, m.Aux) {
				t.Fatalf("arguments % x become % x", m.Aux, again.Aux)
			}
			if !bytes.Equal(again.Payload, m.Payload) {
				t.Fatalf("payload % x becomes % x", m.Payload, again.Payload)
			}
			if args, err := DecodeArgs(m.Aux); err == nil {
				twice, err := DecodeArgs(AppendArgs(nil, args))
				if err != nil {
					t.Fatalf("%d arguments again: %v", len(args), err)
				}
				if len(twice) != len(args) {
					t.Fatalf("%d arguments become %d", len(args), len(twice))
				}
			}
			_, _ = m.Object(nil)
		}
	})
}
