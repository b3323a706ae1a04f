package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"testing"
	"testing/iotest"
)

// canned is a connection from which the bytes of a reader are read.
type canned struct {
	net.Conn
	io.Reader
}

func (c canned) Read(b []byte) (int, error) { return c.Reader.Read(b) }

// packets receives until the end and returns the packets joined.
func packets(r io.Reader) (all []byte, err error) {
	s := newStream(canned{Reader: r})
	defer s.free()
	for {
		head, body, _, err := s.receive()
		if err != nil {
			return all, err
		}
		all = append(all, head.AsSlice()...)
		head.Release()
		if body != nil {
			all = append(all, body.AsSlice()...)
			body.Release()
		}
	}
}

// blank is a packet of n bytes.
func blank(n int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, n)
	b[0], b[6] = 0x60, protocolTCP
	binary.BigEndian.PutUint16(b[4:], uint16(n-ipHeader))
	b[min(ipHeader+tcpOffset, n-1)] = 5 << 4
	return b
}

// TestStream receives packets of every size, whose bytes arrive in pieces of several sizes.
func TestStream(t *testing.T) {
	t.Parallel()
	var want []byte
	for _, n := range []int{
		41, 60, 61, 100, shareFrom - 1, shareFrom, sendLimit, MaxMTU, maxPacket - 1, maxPacket,
		1280,
	} {
		for range 7 {
			want = append(want, blank(n)...)
		}
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":        func(r io.Reader) io.Reader { return r },
		"bytes":        iotest.OneByteReader,
		"halves":       iotest.HalfReader,
		"with its end": iotest.DataErrReader,
	} {
		got, err := packets(wrap(bytes.NewReader(want)))
		if err != io.EOF {
			t.Errorf("%s: %v, want EOF", name, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes that differ from the %d sent", name, len(got), len(want))
		}
	}
	// TLS that ends without close_notify.
	if _, err := packets(iotest.ErrReader(io.ErrUnexpectedEOF)); err != io.EOF {
		t.Errorf("cut between packets: %v, want EOF", err)
	}
	if _, err := packets(bytes.NewReader(want[:len(want)-1])); err != io.ErrUnexpectedEOF {
		t.Errorf("cut inside a packet: %v", err)
	}
}

func FuzzStream(f *testing.F) {
	f.Add(append(blank(60), blank(5000)...))
	f.Add(ip4)
	f.Add(blank(41)[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := packets(iotest.HalfReader(bytes.NewReader(b)))
		var lost *PacketError
		switch {
		case !bytes.HasPrefix(b, got):
			t.Fatalf("% x gives % x", b, got)
		case err == io.EOF && len(got) < len(b):
			t.Fatalf("% x: the end after %d bytes", b, len(got))
		case err != io.EOF && err != io.ErrUnexpectedEOF && !errors.As(err, &lost):
			t.Fatalf("% x: %v", b, err)
		}
	})
}

var ip4 = append([]byte{0x45}, make([]byte, 60)...)

// corkRecorder records the writes of each burst.
type corkRecorder struct {
	net.Conn
	bursts [][][]byte
	corked bool
}

func (c *corkRecorder) Write(b []byte) (int, error) {
	if !c.corked {
		c.bursts = append(c.bursts, nil)
	}
	last := len(c.bursts) - 1
	c.bursts[last] = append(c.bursts[last], bytes.Clone(b))
	return len(b), nil
}

func (c *corkRecorder) Cork()         { c.corked, c.bursts = true, append(c.bursts, nil) }
func (c *corkRecorder) Uncork() error { c.corked = false; return nil }

// TestStreamWrites sends several packets at once. Each must have a write of its own, or
// share one with others that fit.
func TestStreamWrites(t *testing.T) {
	t.Parallel()
	lengths := func(b [][]byte) (n []int) {
		for _, w := range b {
			n = append(n, len(w))
		}
		return n
	}
	var three []byte
	for _, n := range []int{100, 200, 5000} {
		three = append(three, blank(n)...)
	}
	for _, c := range []struct {
		b      []byte
		most   int
		bursts [][]int
	}{
		{three[:100], 0, [][]int{{100}}},
		{three, 0, [][]int{{100, 200, 5000}}},
		{three, 300, [][]int{{300, 5000}}},
		{three, 16384, [][]int{{5300}}},
	} {
		r := &corkRecorder{}
		if err := newStream(r).send(c.b, c.most); err != nil {
			t.Fatal(err)
		}
		var got [][]int
		for _, b := range r.bursts {
			got = append(got, lengths(b))
		}
		if !reflect.DeepEqual(got, c.bursts) {
			t.Errorf("%d bytes, %d together: %v, want %v", len(c.b), c.most, got, c.bursts)
		}
	}
	plain := &recorder{Conn: nowhere{}}
	if err := newStream(plain).send(three, 0); err != nil {
		t.Errorf("without cork: %v", err)
	}
	if got, want := lengths(plain.writes), []int{100, 200, 5000}; !slices.Equal(got, want) {
		t.Errorf("without cork: %v, want %v", got, want)
	}
	var lost *PacketError
	if err := newStream(plain).send(ip4, 0); !errors.As(err, &lost) {
		t.Errorf("what is not a packet: %v", err)
	}
}

// nowhere is a connection that discards all bytes.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
