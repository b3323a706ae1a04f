package psk

import (
	"bytes"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// FuzzServer sends a server any bytes from a client without the key.
func FuzzServer(f *testing.F) {
	hello := plainRecord(recordHandshake, appendClientHello(nil, make([]byte, 32), suites))
	exchange := plainRecord(recordHandshake, appendIdentity(nil, "id"))
	f.Add([]byte{})
	f.Add(hello)
	f.Add(append(bytes.Clone(hello), exchange...))
	f.Add(append(append(bytes.Clone(hello), exchange...), append(
		plainRecord(recordChangeCipher, []byte{1}),
		plainRecord(recordHandshake, make([]byte, 60))...,
	)...))
	f.Add(plainRecord(recordAlert, []byte{1, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 100_000 {
			return
		}
		if err := serverAgainst(t, b); err == nil {
			t.Error("no error")
		}
	})
}

// FuzzClient sends a client any bytes from a server without the key.
func FuzzClient(f *testing.F) {
	hello := plainRecord(recordHandshake, appendServerHello(nil, make([]byte, 32), suites[0], true))
	done := plainRecord(recordHandshake, []byte{messageServerHelloDone, 0, 0, 0})
	f.Add(hello)
	f.Add(append(bytes.Clone(hello), done...))
	f.Add(append(append(bytes.Clone(hello), done...), append(
		plainRecord(recordChangeCipher, []byte{1}),
		plainRecord(recordHandshake, make([]byte, 60))...,
	)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 100_000 {
			return
		}
		a, peer := link.Pipe()
		peer.Write(b)
		link.CloseWrite(peer)
		c, err := Client(t.Context(), a, &Config{Key: testKey()})
		if err == nil {
			t.Errorf("a handshake with % x succeeds", b)
		}
		wantNoConn(t, "Client", c)
	})
}

// FuzzRecords replaces the bytes behind a handshake. None of them may arrive as data.
func FuzzRecords(f *testing.F) {
	for i := range suites {
		f.Add(byte(i), make([]byte, 80))
		f.Add(byte(i), plainRecord(recordData, make([]byte, 48)))
		f.Add(byte(i), plainRecord(recordAlert, make([]byte, 64)))
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		if len(b) > 100_000 {
			return
		}
		s := suites[int(which)%len(suites)]
		_, open, err := s.protectors(make([]byte, 2*(s.macLen+s.keyLen+s.fixedIV)), nil)
		if err != nil {
			t.Fatal(err)
		}
		in := &inbound{cipher: open}
		a, peer := link.Pipe()
		peer.Write(b)
		peer.Close()
		for {
			typ, body, err := in.next(a)
			if err != nil {
				return
			}
			t.Errorf("record %d of %d bytes: % x", typ, len(body), b)
		}
	})
}
