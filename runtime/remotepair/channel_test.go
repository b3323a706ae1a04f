package remotepair

import (
	"errors"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/tlv8"
)

func TestHostileChannel(t *testing.T) {
	bubble(t, func(r *rig) {
		for name, c := range map[string]struct {
			answer string
			want   error
		}{
			"no port": {
				`{"response":{"_1":{"createListener":{"devicePublicKey":""}},"forRequestIdentifier":1}}`,
				ErrProtocol,
			},
			"port 0": {`{"response":{"_1":{"createListener":{"port":0}}}}`, ErrProtocol},
			"big port": {
				`{"response":{"_1":{"createListener":{"port":65536}}}}`, ErrProtocol,
			},
			"text port": {
				`{"response":{"_1":{"createListener":{"port":"1"}}}}`, ErrProtocol,
			},
			"request": {`{"request":{"_0":{"createListener":{"port":1}}}}`, ErrProtocol},
			"other":   {`{"response":{"_1":{"createTeapot":{"port":1}}}}`, ErrProtocol},
			"two": {
				`{"response":{"_1":{"createListener":{"port":1},"x":{}}}}`, errShape,
			},
			"no JSON":          {`{`, errShape},
			"sealed by nobody": {"", ErrAuthentication},
		} {
			shared := make([]byte, 32)
			client := against(r, func(w *wire) {
				m := w.recv()
				enc := newChannel(shared)
				if _, err := enc.open(enc.client, m.encrypted); err != nil {
					w.Error(err)
				}
				sealed := enc.seal(enc.server, []byte(c.answer))
				if c.answer == "" {
					sealed = enc.seal(enc.client, nil)
				}
				w.send(&Message{encrypted: sealed})
			})
			client.enc = newChannel(shared)
			l, err := client.CreateListener(r.Context(), ListenerRequest{Protocol: TCP})
			if l != nil {
				r.Errorf("%s: CreateListener = %v, want none", name, l)
			}
			if !errors.Is(err, c.want) {
				r.Errorf("%s: %v, want %v", name, err, c.want)
			}
			client.Close()
		}
	})
}

// A repeated message of the encrypted channel must end it, and so must one before the
// host has authenticated, and one that is not a message.
func TestEncryptedMessages(t *testing.T) {
	bubble(t, func(r *rig) {
		w := r.wire()
		w.send(&Message{encrypted: make([]byte, 40)})
		if err := <-w.ended; !errors.Is(err, ErrNotVerified) {
			r.Errorf("before verify: %v", err)
		}
		r.pair()
		for name, second := range map[string]func(c *Client, first *Message) *Message{
			"replay": func(_ *Client, first *Message) *Message { return first },
			"junk": func(*Client, *Message) *Message {
				return &Message{encrypted: make([]byte, 3)}
			},
			"no JSON": func(c *Client, _ *Message) *Message {
				return &Message{encrypted: c.enc.seal(c.enc.client, []byte("[]"))}
			},
			"no request": func(c *Client, _ *Message) *Message {
				return &Message{encrypted: c.enc.seal(c.enc.client, []byte(`{"request":{}}`))}
			},
		} {
			tr, ended := r.serve()
			c, err := Connect(r.Context(), tr, Options{Identity: r.host})
			if err == nil {
				err = c.Verify(r.Context())
			}
			if err != nil {
				r.Fatal(err)
			}
			first := &Message{encrypted: c.enc.seal(c.enc.client,
				[]byte(`{"request":{"_0":{"createRemoteUnlockKey":{}}}}`))}
			if err := tr.Send(r.Context(), first); err != nil {
				r.Fatal(err)
			}
			m, err := tr.Recv(r.Context())
			if err != nil {
				r.Fatalf("answer: %v", err)
			}
			if m.content != nil {
				r.Fatalf("answer %v is not encrypted", m)
			}
			c.enc.n++
			if err := tr.Send(r.Context(), second(c, first)); err != nil {
				r.Fatal(err)
			}
			var e *Error
			err = <-ended
			if !errors.As(err, &e) {
				r.Errorf("%s: the device ended with %v (%T), want an *Error", name, err, err)
			} else if e.Op != "serve" {
				r.Errorf("%s: the operation of %v is %q, want serve", name, err, e.Op)
			}
			if _, err := tr.Recv(r.Context()); !errors.Is(err, io.EOF) {
				r.Errorf("%s: answered %v", name, err)
			}
		}
	})
}

func TestPlainRequests(t *testing.T) {
	bubble(t, func(r *rig) {
		w := r.wire()
		w.send(&Message{Sequence: 9, content: &content{kind: kindRequest, name: nameCreateListen}})
		w.wantContent(w.recv(), nameErrorExtended, 9)
		// Unknown keys must be ignored.
		w.send(&Message{content: &content{kind: kindEvent, name: "news"}})
		w.send(&Message{content: &content{kind: kindResponse, name: "answer"}})
		w.pairing("otherPairing", true, tlv8.List{tlv8.Byte(tlv8.State, 1)})
		w.send(
			&Message{Sequence: 1 << 63, content: &content{kind: kindRequest, name: nameHandshake}},
		)
		m := w.recv()
		w.wantContent(m, nameHandshake, 1<<63)
		if m.Sequence != 1 {
			r.Errorf("the answer to the handshake has the number %d, want 1", m.Sequence)
		}
	})
}
