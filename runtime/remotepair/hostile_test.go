package remotepair

import (
	"context"
	"errors"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// wire sends and receives single messages at either end.
type wire struct {
	*rig
	t      Transport
	device bool
	ended  <-chan error
}

func (r *rig) wire() *wire {
	t, ended := r.serve()
	return &wire{rig: r, t: t, ended: ended}
}

func (w *wire) send(m *Message) {
	w.Helper()
	m.Device = w.device
	if err := w.t.Send(context.Background(), m); err != nil {
		w.Fatal(err)
	}
}

func (w *wire) recv() *Message {
	w.Helper()
	m, err := w.t.Recv(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	if m.Device == w.device {
		w.Errorf("%v comes from the wrong side", m)
	}
	return m
}

func (w *wire) pairing(kind string, fresh bool, list tlv8.List) {
	w.Helper()
	c, err := pairingEvent(kind, list, fresh, "")
	if err != nil {
		w.Fatal(err)
	}
	w.send(&Message{content: c})
}

// answer receives a pairing message.
func (w *wire) answer() *pairingData {
	w.Helper()
	for {
		m := w.recv()
		if m.content == nil || m.content.name != namePairingData {
			continue
		}
		p, err := parsePairing(m.content)
		if err != nil {
			w.Fatal(err)
		}
		return p
	}
}

// accepted receives a pairing message without an error.
func (w *wire) accepted(state byte) *pairingData {
	w.Helper()
	p := w.answer()
	if p.state() != state {
		w.Fatalf("answer %v, want state %d", p.list, state)
	}
	if e := pairingError("", p); e != nil {
		w.Fatalf("answer %v has the error %v", p.list, e)
	}
	return p
}

// wantContent checks the name of a message that is not encrypted and, unless it is 0, the
// request that it answers.
func (w *wire) wantContent(m *Message, name string, to uint64) {
	w.Helper()
	if m.content == nil {
		w.Errorf("%v has no content, want %s", m, name)
		return
	}
	if m.content.name != name {
		w.Errorf("%v, want %s", m, name)
	}
	if to != 0 && m.content.to != to {
		w.Errorf("%v answers request %d, want %d", m, m.content.to, to)
	}
}

// refused receives a pairing message with an error.
func (w *wire) refused(state byte, code int64) {
	w.Helper()
	p := w.answer()
	if p.state() != state {
		w.Errorf("answer %v, want state %d", p.list, state)
	}
	if e := pairingError("", p); e == nil {
		w.Errorf("answer %v, want error %d", p.list, code)
	} else if e.Code != code {
		w.Errorf("answer %v has the error %d, want %d", p.list, e.Code, code)
	}
	if len(p.list) != 2 {
		w.Errorf("answer %v, want a state and an error alone", p.list)
	}
}

func TestMessagesOutOfTurn(t *testing.T) {
	bubble(t, func(r *rig) {
		w := r.wire()
		for _, kind := range []string{kindSetup, kindVerify} {
			w.pairing(kind, false, tlv8.List{tlv8.Byte(tlv8.State, 3)})
			w.refused(2, tlv8.CodeUnknown)
			w.pairing(kind, true, tlv8.List{tlv8.Byte(tlv8.State, 5)})
			w.refused(2, tlv8.CodeUnknown)
			w.pairing(kind, true, tlv8.List{})
			w.refused(2, tlv8.CodeUnknown)
			w.pairing(kind, true, tlv8.List{{Type: tlv8.State, Value: []byte{200}}})
			w.refused(2, tlv8.CodeUnknown)
		}
		// M5 is sent in place of M3, and then M3, which is out of order.
		begin := tlv8.List{tlv8.Byte(tlv8.Method, 0), tlv8.Byte(tlv8.State, 1)}
		w.pairing(kindSetup, true, begin)
		w.accepted(2)
		w.pairing(kindSetup, false, tlv8.List{tlv8.Byte(tlv8.State, 5)})
		w.refused(4, tlv8.CodeUnknown)
		w.pairing(kindSetup, false, tlv8.List{tlv8.Byte(tlv8.State, 3)})
		w.refused(2, tlv8.CodeUnknown)
		// A second beginning requires startNewSession.
		w.pairing(kindSetup, false, begin)
		w.accepted(2)
		w.pairing(kindSetup, false, begin)
		w.refused(4, tlv8.CodeUnknown)
		// The keys are invalid.
		w.pairing(kindVerify, true,
			tlv8.List{tlv8.Byte(tlv8.State, 1), {Type: tlv8.PublicKey, Value: make([]byte, 32)}})
		w.refused(2, tlv8.CodeUnknown)
		w.pairing(kindVerify, true,
			tlv8.List{tlv8.Byte(tlv8.State, 1), {Type: tlv8.PublicKey, Value: repeated(9)}})
		w.accepted(2)
		w.pairing(kindVerify, false, tlv8.List{
			tlv8.Byte(tlv8.State, 3), {Type: tlv8.EncryptedData, Value: make([]byte, 120)},
		})
		w.refused(4, tlv8.CodeAuthentication)
	})
}

// A host that proves the PIN but signs M5 wrongly must not be trusted.
func TestForgedIntroduction(t *testing.T) {
	bubble(t, func(r *rig) {
		for name, bend := range map[string]func(sealed []byte) []byte{
			"bent":    func(b []byte) []byte { b[20] ^= 1; return b },
			"cut":     func(b []byte) []byte { return b[:10] },
			"missing": func([]byte) []byte { return nil },
		} {
			w := r.wire()
			w.pairing(kindSetup, true, tlv8.List{tlv8.Byte(tlv8.State, 1)})
			m2 := w.answer()
			salt, _ := m2.list.Get(tlv8.Salt)
			public, _ := m2.list.Get(tlv8.PublicKey)
			srp, err := newSRPClient(srpUser, pinless, salt, public, randomExponent(nil))
			if err != nil {
				r.Fatal(err)
			}
			w.pairing(kindSetup, false, tlv8.List{
				tlv8.Byte(tlv8.State, 3), {Type: tlv8.PublicKey, Value: srp.public},
				{Type: tlv8.Proof, Value: srp.proof},
			})
			w.accepted(4)
			sealed, err := sealM5(r.host, "x", srp.key)
			if err != nil {
				r.Fatal(err)
			}
			w.pairing(kindSetup, false, tlv8.List{
				tlv8.Byte(tlv8.State, 5), {Type: tlv8.EncryptedData, Value: bend(sealed)},
			})
			w.refused(6, tlv8.CodeAuthentication)
			if len(r.dev.Peers.All()) != 0 {
				r.Errorf("%s: trusted", name)
			}
			w.t.Close()
		}
	})
}

// against connects a client to a device that the test plays.
func against(r *rig, play func(w *wire)) *Client {
	r.Helper()
	host, device := r.pipe()
	w := &wire{rig: r, t: device, device: true}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m := w.recv()
		w.send(&Message{content: &content{
			kind: kindResponse, name: nameHandshake, to: m.Sequence,
			args: plist.Dict{"_0": r.dev.greeting()},
		}})
		play(w)
	}()
	c, err := Connect(r.Context(), host, Options{Identity: r.host})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close(); <-done; device.Close() })
	return c
}

func TestHostileVerify(t *testing.T) {
	bubble(t, func(r *rig) {
		pub := tlv8.Item{Type: tlv8.PublicKey, Value: repeated(9)}
		for name, c := range map[string]struct {
			m2   tlv8.List
			m4   tlv8.List
			want error
		}{
			"refused in M2": {
				tlv8.List{tlv8.Byte(tlv8.State, 2), tlv8.Byte(tlv8.PairingError, 2)}, nil,
				ErrNotPaired,
			},
			"no key": {tlv8.List{tlv8.Byte(tlv8.State, 2)}, nil, ErrProtocol},
			"zero key": {tlv8.List{
				tlv8.Byte(tlv8.State, 2), {Type: tlv8.PublicKey, Value: make([]byte, 32)},
			}, nil, ErrProtocol},
			"state": {tlv8.List{tlv8.Byte(tlv8.State, 4), pub}, nil, ErrProtocol},
			"no proof is due": {
				tlv8.List{tlv8.Byte(tlv8.State, 2), pub}, tlv8.List{tlv8.Byte(tlv8.State, 2)},
				ErrProtocol,
			},
			"unknown error": {
				tlv8.List{tlv8.Byte(tlv8.State, 2), pub},
				tlv8.List{tlv8.Byte(tlv8.State, 4), tlv8.Byte(tlv8.PairingError, 99)}, ErrNotPaired,
			},
			"empty error": {
				tlv8.List{tlv8.Byte(tlv8.State, 2), pub},
				tlv8.List{{Type: tlv8.PairingError}, tlv8.Byte(tlv8.State, 4)}, ErrNotPaired,
			},
		} {
			client := against(r, func(w *wire) {
				w.answer()
				w.pairing(kindVerify, false, c.m2)
				if c.m4 != nil {
					w.answer()
					w.pairing(kindVerify, false, c.m4)
				}
				w.wantContent(w.recv(), nameVerifyFailed, 0)
			})
			if err := client.Verify(r.Context()); !errors.Is(err, c.want) {
				r.Errorf("%s: %v, want %v", name, err, c.want)
			}
			client.Close()
		}
	})
}

func TestHostileSetup(t *testing.T) {
	bubble(t, func(r *rig) {
		srp := newSRPServer(srpUser, pinless, newSalt(nil), randomExponent(nil))
		m2 := tlv8.List{
			tlv8.Byte(tlv8.State, 2), {Type: tlv8.Salt, Value: srp.salt},
			{Type: tlv8.PublicKey, Value: pad(srp.public)},
		}
		refuse := func(w *wire) {
			w.answer()
			w.pairing(kindVerify, false,
				tlv8.List{tlv8.Byte(tlv8.State, 2), tlv8.Byte(tlv8.PairingError, 4)})
			w.answer() // M1 of setup, past pairVerifyFailed
			w.send(&Message{content: &content{kind: kindEvent, name: nameConsent}})
		}
		for name, c := range map[string]struct {
			play func(w *wire)
			want error
		}{
			"multiple of N": {func(w *wire) {
				w.pairing(kindSetup, false,
					tlv8.List{m2[0], m2[1], {Type: tlv8.PublicKey, Value: group().n.Bytes()}})
			}, errGroup},
			"no salt": {
				func(w *wire) { w.pairing(kindSetup, false, tlv8.List{m2[0], m2[2]}) }, ErrProtocol,
			},
			"other kind": {func(w *wire) { w.pairing(kindVerify, false, m2) }, ErrProtocol},
			"wrong proof": {func(w *wire) {
				w.pairing(kindSetup, false, m2)
				w.answer()
				w.pairing(kindSetup, false, tlv8.List{
					tlv8.Byte(tlv8.State, 4), {Type: tlv8.Proof, Value: make([]byte, 64)},
				})
			}, ErrAuthentication},
			"unsigned M6": {func(w *wire) {
				w.pairing(kindSetup, false, m2)
				m3 := w.answer()
				public, _ := m3.list.Get(tlv8.PublicKey)
				mine, _ := m3.list.Get(tlv8.Proof)
				proof, key, err := srp.check(public, mine)
				if err != nil {
					w.Fatal(err)
				}
				w.pairing(kindSetup, false,
					tlv8.List{tlv8.Byte(tlv8.State, 4), {Type: tlv8.Proof, Value: proof}})
				w.answer()
				id := NewIdentity("device", nil)
				sealed, err := sealIntroduction(introduction{"d", id.public(), hostInfo(id, "d")},
					make([]byte, 64), setupKey(key), nonceSetup6)
				if err != nil {
					w.Fatal(err)
				}
				w.pairing(kindSetup, false,
					tlv8.List{tlv8.Byte(tlv8.State, 6), {Type: tlv8.EncryptedData, Value: sealed}})
			}, ErrAuthentication},
			"talks on": {func(w *wire) {
				for range maxUnasked + 1 {
					if w.t.Send(context.Background(), &Message{
						Device: true, content: &content{kind: kindEvent, name: "news"},
					}) != nil {
						return
					}
				}
			}, ErrProtocol},
		} {
			client := against(r, func(w *wire) { refuse(w); c.play(w) })
			rec, err := client.Pair(r.Context())
			if rec != nil {
				r.Errorf("%s: Pair = %v, want none", name, rec)
			}
			if !errors.Is(err, c.want) {
				r.Errorf("%s: %v, want %v", name, err, c.want)
			}
			client.Close()
		}
	})
}

// TestBadMessages has a device that sends invalid messages before it answers.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]string{
		"no JSON":        `{`,
		"list":           `[]`,
		"nothing":        `{}`,
		"null":           `null`,
		"no content":     `{"message":{"plain":{"_0":{}}},"originatedBy":"device","sequenceNumber":0}`,
		"two events":     `{"message":{"plain":{"_0":{"event":{"_0":{"a":{},"b":{}}}}}}}`,
		"event as text":  `{"message":{"plain":{"_0":{"event":"x"}}}}`,
		"unknown":        `{"message":{"plain":{"_0":{"event":{"_0":{"somethingNew":{}}}}}}}`,
		"sealed nothing": `{"message":{"streamEncrypted":{"_0":7}}}`,
		"two values":     `{}{}`,
	} {
		host, device := linktest.Pipe()
		go func() {
			s := NewStream(device)
			if _, err := s.Recv(context.Background()); err != nil {
				return
			}
			frame := append([]byte(frameMagic), byte(len(odd)>>8), byte(len(odd)))
			_, _ = device.Write(append(frame, odd...))
			info := plist.Dict{"_0": plist.Dict{"peerDeviceInfo": plist.Dict{"name": "Phone"}}}
			_ = s.Send(context.Background(), &Message{
				Device:  true,
				content: &content{kind: kindResponse, name: nameHandshake, args: info},
			})
		}()
		c, err := Connect(t.Context(), NewStream(host), Options{Identity: NewIdentity("host", nil)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.info.Name; got != "Phone" {
			t.Errorf("%s: name %q", name, got)
		}
		c.Close()
		device.Close()
	}
}
