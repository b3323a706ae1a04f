package remotepair

import (
	"context"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

// FuzzStream reads frames. A message must be the same after it is written and read
// again.
func FuzzStream(f *testing.F) {
	f.Add(frame(goldenJSON))
	f.Add(frame(
		`{"message":{"streamEncrypted":{"_0":"AAEC"}},"originatedBy":"device","sequenceNumber":7}`,
	))
	f.Add(frame(
		`{"message":{"plain":{"_0":{"response":{"_1":{"handshake":{"_0":{"wireProtocolVersion":26}}},"forRequestIdentifier":0}}}},"originatedBy":"device","sequenceNumber":0}`,
	))
	f.Add([]byte("RPPairing\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := receive(t, b)
		if err != nil {
			return
		}
		tree, err := appendJSON(nil, m.tree())
		if err != nil {
			return // numbers beyond float64
		}
		d, err := decodeJSON(tree)
		if err != nil {
			t.Fatalf("%s: %v", tree, err)
		}
		again, err := parseMessage(d)
		if err != nil {
			t.Fatalf("parseMessage: %v", err)
		}
		if again.String() != m.String() {
			t.Errorf("%v became %v", m, again)
		}
	})
}

// FuzzXPC decodes envelopes.
func FuzzXPC(f *testing.F) {
	c, _ := pairingEvent(kindVerify, tlv8.List{tlv8.Byte(tlv8.State, 1)}, true, "")
	seed, _ := xpc.AppendObject(nil,
		xpc.Dict{{Key: "value", Value: toXPC((&Message{content: c}).tree())}})
	greeting, _ := xpc.AppendObject(nil, Greeting())
	f.Add(seed)
	f.Add(greeting)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := xpc.DecodeObject(b)
		d, ok := v.(xpc.Dict)
		if err != nil || !ok {
			return
		}
		value, _ := d.Dict("value")
		if m, err := parseMessage(fromXPC(value)); err == nil && m.content != nil &&
			m.content.name == namePairingData {
			_, _ = parsePairing(m.content)
		}
	})
}

// FuzzDevice sends pairing messages of a host that has not authenticated. No host may
// become trusted, and the device must continue or end with an error.
func FuzzDevice(f *testing.F) {
	r := newRig(f, phoneOptions)
	f.Add(true, []byte{0, 1, 0, 6, 1, 1}, false, []byte{6, 1, 3, 3, 1, 9, 4, 1, 9})
	f.Add(true, []byte{6, 1, 1, 3, 1, 9}, true, []byte{6, 1, 3, 5, 1, 0})
	f.Fuzz(func(t *testing.T, setup1 bool, first []byte, setup2 bool, second []byte) {
		a, b := link.Pipe()
		host := NewStream(a)
		done := make(chan struct{})
		go func() { defer close(done); _ = r.dev.Serve(context.Background(), NewStream(b)) }()
		for _, m := range []struct {
			setup bool
			data  []byte
		}{{setup1, first}, {setup2, second}} {
			list, err := tlv8.Decode(m.data)
			if err != nil {
				continue
			}
			kind := kindVerify
			if m.setup {
				kind = kindSetup
			}
			if ev, err := pairingEvent(kind, list, true, "x"); err == nil {
				_ = host.Send(context.Background(), &Message{content: ev})
			}
		}
		link.CloseWrite(a)
		_, _ = io.Copy(io.Discard, a)
		<-done
		a.Close()
		if len(r.dev.Peers.All()) != 0 {
			t.Errorf("% x, % x made a host trusted", first, second)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	b, _ := testRecord().Encode()
	f.Add(b)
	f.Add([]byte("<plist><dict><key>private_key</key><data></data></dict></plist>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			return // texts that XML cannot hold
		}
		back, err := ParseRecord(again)
		if err != nil {
			t.Fatalf("ParseRecord: %v", err)
		}
		if back.String() != r.String() {
			t.Errorf("%v became %v", r, back)
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	b, _ := hostInfo(NewIdentity("x", nil), "x").encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseInfo(b)
		if err == nil && p.altIRK != nil && len(p.altIRK) != irkLen {
			t.Errorf("altIRK of %d bytes", len(p.altIRK))
		}
	})
}
