package remotepair

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// goldenFrame and goldenJSON are a frame of the protocol page on remote pairing: the magic,
// a big-endian length, and compact JSON with base64 in it.
const goldenFrame = "525050616972696e67" + "00d1"

const goldenJSON = `{"message":{"plain":{"_0":{"event":{"_0":{"pairingData":{"_0":{"data":"AAEABgEB","kind":"setupManualPairing","sendingHost":"a<b","startNewSession":true}}}}}}},"originatedBy":"host","sequenceNumber":4294967296}`

func goldenMessage(t testing.TB) *Message {
	t.Helper()
	c, err := pairingEvent(kindSetup,
		tlv8.List{tlv8.Byte(tlv8.Method, 0), tlv8.Byte(tlv8.State, 1)}, true, "a<b")
	if err != nil {
		t.Fatal(err)
	}
	return &Message{Sequence: 1 << 32, content: c}
}

func TestStreamFrame(t *testing.T) {
	t.Parallel()
	a, b := linktest.Pipe()
	defer b.Close()
	s := NewStream(a)
	if err := s.Send(t.Context(), goldenMessage(t)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	got, err := io.ReadAll(b)
	head, _ := hex.DecodeString(goldenFrame)
	if err != nil {
		t.Fatal(err)
	}
	if want := append(head, goldenJSON...); !bytes.Equal(got, want) {
		t.Fatalf("frame %q, want %q", got, want)
	}
	m, err := receive(t, got)
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	p := mustPairing(t, m)
	want := &pairingData{
		kind: kindSetup, fresh: true, hostName: "a<b",
		list: tlv8.List{tlv8.Byte(tlv8.Method, 0), tlv8.Byte(tlv8.State, 1)},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("read back %+v, want %+v", p, want)
	}
	if m.Sequence != 1<<32 {
		t.Errorf("read back the sequence number %d, want %d", m.Sequence, 1<<32)
	}
	if m.Device {
		t.Error("read back a message of the device")
	}
}

func mustPairing(t testing.TB, m *Message) *pairingData {
	t.Helper()
	if m == nil {
		t.Fatal("no message")
	}
	if m.content == nil {
		t.Fatal("no content")
	}
	p, err := parsePairing(m.content)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// receive reads one message from bytes after which the connection ends.
func receive(t testing.TB, b []byte) (*Message, error) {
	t.Helper()
	x, y := linktest.Pipe()
	go func() { x.Write(b); x.Close() }()
	m, err := NewStream(y).Recv(t.Context())
	y.Close()
	return m, err
}

func frame(json string) []byte {
	return append(
		[]byte{'R', 'P', 'P', 'a', 'i', 'r', 'i', 'n', 'g', byte(len(json) >> 8), byte(len(json))},
		json...,
	)
}

func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	whole := frame(goldenJSON)
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		m, err := receive(t, whole[:n])
		if m != nil {
			t.Fatalf("first %d bytes: message %v, want none", n, m)
		}
		if !errors.Is(err, want) {
			t.Fatalf("first %d bytes: %v, want %v", n, err, want)
		}
	}
	if _, err := receive(t, []byte("RPPairinG\x00\x02{}")); !errors.Is(err, errMagic) {
		t.Errorf("magic: %v", err)
	}
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for _, json := range []string{"", "null", "[]", "{}", "{} {}", `{"message":{}}`,
		`{"message":{"plain":{"_0":7}}}`,
		`{"message":{"plain":{"_0":{"event":{"_0":{}}}}}}`,
		`{"message":{"plain":{"_0":{"event":{"_0":{"a":{},"b":{}}}}}}}`,
		`{"message":{"plain":{"_0":{"noise":{"_0":{"a":{}}}}}}}`,
		`{"message":{"streamEncrypted":{"_0":"%%"}}}`, `{"message":{"streamEncrypted":{}}}`,
		deep} {
		if m, err := receive(t, frame(json)); err == nil {
			t.Errorf("%.60s: %v", json, m)
		}
	}
	// This message is larger than a frame.
	a, _ := linktest.Pipe()
	if err := NewStream(a).Send(t.Context(),
		&Message{encrypted: make([]byte, maxFrame)}); err == nil {
		t.Error("sent more than a frame holds")
	}
}

func TestPairingDataRefusals(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]plist.Dict{
		"nothing":   {},
		"no data":   {"_0": plist.Dict{"kind": kindSetup}},
		"no base64": {"_0": plist.Dict{"data": "*"}},
		"no TLV":    {"_0": plist.Dict{"data": []byte{6, 9, 1}}},
	} {
		p, err := parsePairing(&content{args: args})
		if err == nil {
			t.Errorf("%s: parsePairing succeeds", name)
		}
		if p != nil {
			t.Errorf("%s: parsePairing = %v, want none", name, p)
		}
	}
}

// A Recv that was ended by its context in the middle of a frame must lose no bytes.
func TestStreamResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Pipe()
		defer a.Close()
		s := NewStream(b)
		defer s.Close()
		whole := frame(goldenJSON)
		for _, cut := range []int{3, 9, 60} {
			a.Write(whole[:cut])
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := s.Recv(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("half a frame: %v", err)
			}
			cancel()
			a.Write(whole[cut:])
			m, err := s.Recv(t.Context())
			if err != nil {
				t.Fatalf("the rest of it: %v", err)
			}
			if m.Sequence != 1<<32 {
				t.Fatalf("the rest of it: sequence number %d, want %d", m.Sequence, 1<<32)
			}
		}
	})
}

func TestXPCEnvelope(t *testing.T) {
	t.Parallel()
	host, device := xpcPipe()
	m := goldenMessage(t)
	if err := host.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	raw := device.(*xpcTransport).conn.(*xpcEnd)
	d, err := raw.Recv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := xpc.Dict{{
		Key: "mangledTypeName", Value: "RemotePairing.ControlChannelMessageEnvelope",
	}, {Key: "value", Value: xpc.Dict{
		{Key: "message", Value: xpc.Dict{{Key: "plain",
			Value: xpc.Dict{{Key: "_0",
				Value: xpc.Dict{{Key: "event", Value: xpc.Dict{{Key: "_0", Value: xpc.Dict{
					{Key: "pairingData", Value: xpc.Dict{{Key: "_0", Value: xpc.Dict{
						{Key: "data", Value: []byte{0, 1, 0, 6, 1, 1}},
						{Key: "kind", Value: kindSetup},
						{Key: "sendingHost", Value: "a<b"},
						{Key: "startNewSession", Value: true}}}}}}}}}}}}}}},
		{Key: "originatedBy", Value: "host"}, {Key: "sequenceNumber", Value: uint64(1 << 32)}}}}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("envelope %v, want %v", d, want)
	}
	m.Device = true
	if err := device.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	other := host.(*xpcTransport).conn.(*xpcEnd)
	d, err = other.Recv(t.Context())
	if err != nil {
		t.Fatalf("greeting: %v", err)
	}
	if !reflect.DeepEqual(d, Greeting()) {
		t.Errorf("greeting %v, want %v", d, Greeting())
	}
	d, err = other.Recv(t.Context())
	if err != nil {
		t.Fatalf("the device's envelope: %v", err)
	}
	const name = "RemotePairingDevice.ControlChannelMessageEnvelope"
	if d[0].Value != name {
		t.Errorf("the device's envelope is %v, want %s", d[0].Value, name)
	}
	if err := raw.Send(t.Context(), xpc.Dict{{Key: "news", Value: true}}); err != nil {
		t.Fatal(err)
	}
	if m, err := host.Recv(t.Context()); !errors.Is(err, errShape) {
		t.Errorf("without a value: %v, %v", m, err)
	}
	for range 2 {
		if err := host.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := device.Recv(t.Context()); err != io.EOF {
		t.Errorf("after the host left: %v", err)
	}
	// Values that the other transport cannot carry must be left out.
	got := fromXPC(xpc.Dict{
		{Key: "fd", Value: xpc.FD(1)}, {Key: "null", Value: xpc.Null{}},
		{Key: "list", Value: []any{xpc.Null{}, int64(1)}}, {Key: "id", Value: xpc.UUID{}},
	})
	if want := (plist.Dict{
		"list": []any{int64(1)}, "id": "00000000-0000-0000-0000-000000000000",
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("fromXPC = %v", got)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	d, err := decodeJSON(
		[]byte(`{"a":1,"b":18446744073709551615,"c":1.5,"d":-1,"e":null,"f":[1,{"g":2}]}`),
	)
	want := plist.Dict{
		"a": int64(1), "b": uint64(1<<64 - 1), "c": 1.5, "d": int64(-1),
		"f": []any{int64(1), plist.Dict{"g": int64(2)}},
	}
	if err != nil {
		t.Errorf("decodeJSON: %v", err)
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("decodeJSON = %v, want %v", d, want)
	}
}
