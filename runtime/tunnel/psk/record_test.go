package psk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// oneRecord returns a server that waits for data, the raw client end, and a
// record with plain in it that has not been sent yet.
func oneRecord(t testing.TB, suite Suite, typ byte, plain []byte) (*Conn, net.Conn, []byte) {
	t.Helper()
	c, s := pair(t, &Config{Key: testKey(), Suites: []Suite{suite}}, &Config{Key: testKey()})
	rec, err := c.out.append(nil, typ, plain)
	if err != nil {
		t.Fatal(err)
	}
	return s, c.conn, rec
}

func TestBentRecords(t *testing.T) {
	t.Parallel()
	for _, suite := range allSuites {
		_, _, rec := oneRecord(t, suite, recordData, []byte("twenty bytes of data"))
		for i := range rec {
			s, raw, rec := oneRecord(t, suite, recordData, []byte("twenty bytes of data"))
			rec[i] ^= 0x01
			raw.Write(rec)
			raw.Close()
			var e *Error
			n, err := s.Read(make([]byte, 100))
			if n != 0 {
				t.Errorf("%v, byte %d bent: %d bytes are read", suite, i, n)
			}
			if !errors.As(err, &e) {
				t.Errorf("%v, byte %d bent: %v, want an *Error", suite, i, err)
			}
			if _, again := s.Read(make([]byte, 100)); !errors.As(again, &e) {
				t.Errorf("%v, byte %d bent, second read: %v", suite, i, again)
			}
		}
	}
}

func TestCutRecords(t *testing.T) {
	t.Parallel()
	for _, suite := range allSuites {
		_, _, rec := oneRecord(t, suite, recordData, []byte("data"))
		for n := range rec {
			s, raw, rec := oneRecord(t, suite, recordData, []byte("data"))
			raw.Write(rec[:n])
			raw.Close()
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			got, err := s.Read(make([]byte, 100))
			if got != 0 {
				t.Errorf("%v, %d of %d bytes: %d bytes are read", suite, n, len(rec), got)
			}
			if !errors.Is(err, want) {
				t.Errorf("%v, %d of %d bytes: %v, want %v", suite, n, len(rec), err, want)
			}
		}
	}
}

// TestRefusedRecords sends records that are authentic but not allowed after the
// handshake. Each must be refused with an alert.
func TestRefusedRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typ   byte
		plain []byte
		alert Alert
	}{
		"renegotiation": {
			recordHandshake, []byte{messageClientHello, 0, 0, 0}, AlertUnexpectedMessage,
		},
		"change cipher spec":   {recordChangeCipher, []byte{1}, AlertUnexpectedMessage},
		"short alert":          {recordAlert, []byte{1}, AlertDecodeError},
		"data of 16385 bytes":  {recordData, make([]byte, maxPlain+1), AlertRecordOverflow},
		"fragment over limits": {recordData, make([]byte, maxCipher+1), AlertRecordOverflow},
	} {
		for _, suite := range allSuites {
			s, raw, rec := oneRecord(t, suite, c.typ, c.plain)
			raw.Write(rec)
			_, err := s.Read(make([]byte, 100))
			wantAlert(t, fmt.Sprintf("%s, %v", name, suite), err, c.alert)
			if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s, %v: write afterwards: %v", name, suite, err)
			}
		}
	}
}

func TestReplayedRecord(t *testing.T) {
	t.Parallel()
	for _, suite := range allSuites {
		s, raw, rec := oneRecord(t, suite, recordData, []byte("once"))
		raw.Write(append(rec, rec...))
		b := make([]byte, 100)
		n, err := s.Read(b)
		if err != nil {
			t.Fatalf("%v: %v", suite, err)
		}
		if string(b[:n]) != "once" {
			t.Fatalf("%v: read %q, want once", suite, b[:n])
		}
		n, err = s.Read(b)
		if n != 0 {
			t.Errorf("%v: the same record again: %d bytes are read", suite, n)
		}
		wantAlert(t, fmt.Sprintf("%v: the same record again", suite), err, AlertBadRecordMAC)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	// A fatal alert must reach the reader.
	s, raw, rec := oneRecord(t, AES256GCMSHA384, recordAlert,
		[]byte{alertFatal, byte(AlertInternalError)})
	raw.Write(rec)
	_, err := s.Read(make([]byte, 1))
	wantAlert(t, "fatal alert", err, AlertInternalError)
	var remote RemoteAlert
	if !errors.As(err, &remote) {
		t.Errorf("fatal alert: %v has no RemoteAlert", err)
	}
	// The alert of a user who cancels and empty records are ignored, up to a limit.
	c, s := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	var burst []byte
	for range maxIdleRecords {
		burst, _ = c.out.append(burst, recordData, nil)
	}
	burst, _ = c.out.append(burst, recordData, []byte("x"))
	for range maxIdleRecords + 1 {
		burst, _ = c.out.append(burst, recordAlert, []byte{alertWarning, byte(AlertUserCanceled)})
	}
	c.conn.Write(burst)
	b := make([]byte, 10)
	n, err := s.Read(b)
	if err != nil {
		t.Fatalf("after empty records: %v", err)
	}
	if n != 1 {
		t.Fatalf("after empty records: %d bytes, want 1", n)
	}
	_, err = s.Read(b)
	wantAlert(t, "nothing but warnings", err, AlertUnexpectedMessage)
	for a, want := range map[Alert]string{200: "alert 200", AlertDecryptError: "decrypt error"} {
		if a.String() != want {
			t.Errorf("the name of alert %d is %q, want %q", byte(a), a, want)
		}
	}
}

// TestCBCPadding checks that every legal padding is accepted and others are not.
func TestCBCPadding(t *testing.T) {
	t.Parallel()
	for _, id := range []Suite{AES256CBCSHA384, AES128CBCSHA} {
		s := suiteByID(id)
		seal, err := s.protector(make([]byte, s.macLen), make([]byte, s.keyLen), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		open, _ := s.protector(make([]byte, s.macLen), make([]byte, s.keyLen), nil, nil)
		for n := range 70 {
			plain := bytes.Repeat([]byte{byte(n)}, n)
			got, err := open.open(3, recordData, seal.seal(nil, 3, recordData, plain))
			if err != nil {
				t.Errorf("%v: %d bytes: %v", id, n, err)
			}
			if !bytes.Equal(got, plain) {
				t.Errorf("%v: open = %x, want %x", id, got, plain)
			}
		}
	}
	for _, c := range []struct {
		text    []byte
		n, good int
	}{
		{[]byte{1, 2, 3, 0}, 1, 1},
		{[]byte{1, 2, 1, 1}, 2, 1},
		{[]byte{3, 3, 3, 3}, 4, 1},
		{[]byte{4, 4, 4, 4}, 0, 0}, // longer than the text
		{[]byte{1, 2, 2, 3}, 0, 0},
		{[]byte{1, 9, 1}, 0, 0},
		{bytes.Repeat([]byte{255}, 256), 256, 1},
		{append([]byte{1}, bytes.Repeat([]byte{255}, 256)...), 256, 1},
		{append([]byte{254}, bytes.Repeat([]byte{255}, 255)...), 0, 0},
	} {
		n, good := padding(c.text)
		if n != c.n {
			t.Errorf("padding(% x) has %d bytes, want %d", c.text, n, c.n)
		}
		if good != c.good {
			t.Errorf("padding(% x) is good: %d, want %d", c.text, good, c.good)
		}
	}
}

// serverAgainst returns the server's error in a handshake with a client that sends these
// bytes.
func serverAgainst(t testing.TB, sent []byte) error {
	t.Helper()
	a, b := link.Pipe()
	a.Write(sent)
	link.CloseWrite(a)
	c, err := Server(t.Context(), b, &Config{Key: testKey()})
	if c != nil {
		t.Fatalf("a handshake with % x succeeded", sent)
	}
	a.Close()
	return err
}

func plainRecord(typ byte, p []byte) []byte {
	b, _ := (&outbound{}).append(nil, typ, p)
	return b
}

func TestRefusedHellos(t *testing.T) {
	t.Parallel()
	hello := appendClientHello(nil, make([]byte, 32), suites)
	bend := func(f func(b []byte)) []byte { b := bytes.Clone(hello); f(b); return b }
	long := bend(func(b []byte) { b[1] = 1 })
	extended := func(ext ...byte) []byte {
		return appendMessage(nil, messageClientHello,
			func(b []byte) []byte { return append(append(b, hello[messageHeader:]...), ext...) })
	}
	for name, c := range map[string]struct {
		record []byte
		alert  Alert
	}{
		"no TLS":       {[]byte("GET / HTTP/1.1\r\n"), AlertProtocolVersion},
		"data first":   {plainRecord(recordData, []byte("x")), AlertUnexpectedMessage},
		"empty record": {plainRecord(recordHandshake, nil), AlertUnexpectedMessage},
		"another message": {
			plainRecord(recordHandshake, []byte{2, 0, 0, 0}), AlertUnexpectedMessage,
		},
		"endless message": {plainRecord(recordHandshake, long), AlertDecodeError},
		"big record":      {[]byte{22, 3, 3, 0x40, 1}, AlertRecordOverflow},
		"TLS 1.1": {
			plainRecord(recordHandshake, bend(func(b []byte) { b[5] = 2 })), AlertProtocolVersion,
		},
		"compression": {
			plainRecord(recordHandshake, bend(func(b []byte) { b[len(b)-1] = 1 })),
			AlertIllegalParameter,
		},
		"odd suites": {
			plainRecord(recordHandshake, bend(func(b []byte) { b[40] = 7 })), AlertDecodeError,
		},
		"long session": {
			plainRecord(recordHandshake, bend(func(b []byte) { b[38] = 200 })), AlertDecodeError,
		},
		"renegotiation": {
			plainRecord(recordHandshake, extended(0, 6, 0xFF, 1, 0, 2, 1, 9)),
			AlertHandshakeFailure,
		},
		"two renegotiations": {
			plainRecord(recordHandshake, extended(0, 10, 0xFF, 1, 0, 1, 0, 0xFF, 1, 0, 1, 0)),
			AlertDecodeError,
		},
		"cut extension": {
			plainRecord(recordHandshake, extended(0, 4, 0, 0, 0, 9)), AlertDecodeError,
		},
		"cut extension block": {
			plainRecord(recordHandshake, extended(0, 9, 0, 0)), AlertDecodeError,
		},
		"rest":  {plainRecord(recordHandshake, extended(0, 0, 1)), AlertDecodeError},
		"alert": {plainRecord(recordAlert, []byte{2, 80}), AlertInternalError},
	} {
		wantAlert(t, name, serverAgainst(t, c.record), c.alert)
	}
	for n := range hello {
		record := plainRecord(recordHandshake, hello)
		if err := serverAgainst(t, record[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
}

// A hello that is sent in many records must be accepted.
func TestFragmentedHello(t *testing.T) {
	t.Parallel()
	a, b := link.Pipe()
	defer a.Close()
	for _, c := range appendClientHello(nil, make([]byte, 32), suites) {
		a.Write(plainRecord(recordHandshake, []byte{c}))
	}
	link.CloseWrite(a)
	if _, err := Server(t.Context(), b, &Config{Key: testKey()}); !errors.Is(err,
		io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	reply, _ := io.ReadAll(a)
	if len(reply) < recordHeader+messageHeader {
		t.Fatalf("the answer % x is too short", reply)
	}
	if reply[0] != recordHandshake {
		t.Fatalf("the answer % x is not a handshake record", reply)
	}
	if reply[5] != messageServerHello {
		t.Fatalf("the answer % x is not a server hello", reply)
	}
}

// The server must send renegotiation_info if and only if the client asks for it.
func TestRenegotiationInfo(t *testing.T) {
	t.Parallel()
	random := make([]byte, 32)
	with := appendServerHello(nil, random, suites[0], true)
	without := appendServerHello(nil, random, suites[0], false)
	extension := unhex(t, "0005ff01000100")
	if !bytes.HasSuffix(with, extension) {
		t.Errorf("the server hello % x does not end with % x", with, extension)
	}
	if got, want := len(with), len(without)+len(extension); got != want {
		t.Errorf("the server hello with renegotiation_info has %d bytes, want %d", got, want)
	}
	for name, c := range map[string]struct {
		suites []byte
		ext    []byte
		want   bool
	}{
		"neither":   {[]byte{0, 0xA9}, nil, false},
		"suite":     {[]byte{0, 0xA9, 0, 0xFF}, nil, true},
		"extension": {[]byte{0, 0xA9}, []byte{0, 9, 0, 0x17, 0, 0, 0xFF, 1, 0, 1, 0}, true},
		"others":    {[]byte{0, 0xA9}, []byte{0, 4, 0, 0x17, 0, 0}, false},
	} {
		b := append([]byte{3, 3}, random...)
		b = append(b, 0, 0, byte(len(c.suites)))
		b = append(append(append(b, c.suites...), 1, 0), c.ext...)
		h, err := parseClientHello(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if h.renegotiation != c.want {
			t.Errorf("%s: renegotiation %v, want %v", name, h.renegotiation, c.want)
		}
	}
}

// TestRefusedServers connects a client to servers that send these bytes.
func TestRefusedServers(t *testing.T) {
	t.Parallel()
	random := make([]byte, 32)
	hello := appendServerHello(nil, random, suites[0], true)
	done := []byte{messageServerHelloDone, 0, 0, 0}
	bend := func(i int, b byte) []byte { h := bytes.Clone(hello); h[i] ^= b; return h }
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, plainRecord(recordHandshake, p)...)
		}
		return b
	}
	for name, c := range map[string]struct {
		sent  []byte
		alert Alert
	}{
		"TLS 1.1":         {join(bend(5, 1)), AlertProtocolVersion},
		"other suite":     {join(bend(40, 1)), AlertIllegalParameter},
		"compression":     {join(bend(41, 1)), AlertIllegalParameter},
		"other extension": {join(bend(44, 1)), AlertUnsupportedExtension},
		"certificate":     {join(hello, []byte{11, 0, 0, 0}), AlertUnexpectedMessage},
		"two hints": {
			join(hello, []byte{12, 0, 0, 2, 0, 0}, []byte{12, 0, 0, 2, 0, 0}),
			AlertUnexpectedMessage,
		},
		"cut hint":         {join(hello, []byte{12, 0, 0, 2, 0, 1}, done), AlertDecodeError},
		"done with a body": {join(hello, []byte{14, 0, 0, 1, 0}), AlertDecodeError},
		"one message more": {
			append(join(hello, append(bytes.Clone(done), 20)),
				plainRecord(recordChangeCipher, []byte{1})...),
			AlertUnexpectedMessage,
		},
		"long change": {
			append(join(hello, done), plainRecord(recordChangeCipher, []byte{1, 1})...),
			AlertDecodeError,
		},
		"no change": {
			join(hello, done, []byte{20, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
			AlertUnexpectedMessage,
		},
	} {
		a, b := link.Pipe()
		b.Write(c.sent)
		link.CloseWrite(b)
		_, err := Client(t.Context(), a, &Config{Key: testKey()})
		wantAlert(t, name, err, c.alert)
		b.Close()
	}
}
