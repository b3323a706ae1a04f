package remotexpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

func fileBytes(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i) + seed
	}
	return b
}

var (
	request  = unhex("920bb029 01001000 0000000000000000 0700000000000000") // transfer 7
	response = unhex("920bb029 01002000 0000000000000000 0000000000000000")
)

// TestFileFromDevice checks the frames of the protocol page.
func TestFileFromDevice(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, d := handHost(t, Options{}, 1<<20)
	w, err := d.OpenFile(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	for p.frame() != initData {
	}
	if got := p.next(); got == openedData {
		p.expectNext("HEADERS#2")
	} else if got != "HEADERS#2" {
		t.Fatalf("%s, want HEADERS#2", got)
	}
	p.expectNext("DATA#2 " + hex.EncodeToString(request))
	sent := make(chan error, 1)
	go func() { sent <- w.Send(ctx, strings.NewReader("hello and more"), 5) }()
	p.headers(2)
	p.data(2, response)
	p.expectNext("DATA#2 68656c6c6f", "DATA#2  END")
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if second, err := d.OpenFile(ctx, 8); err != nil {
		t.Errorf("opening the second file: %v", err)
	} else if second.Stream != 4 {
		t.Errorf("the second file has the stream %d, want 4", second.Stream)
	}
}

// TestFileFromHost checks the other direction: the host does not wait, and a reset
// after the end is not an error.
func TestFileFromHost(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, h := handDevice(t, Options{}, 1<<20)
	w, err := h.OpenFile(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(ctx, strings.NewReader("hello"), 5); err != nil {
		t.Fatal(err)
	}
	for p.frame() != initData {
	}
	p.expectNext("HEADERS#5", "DATA#5 "+hex.EncodeToString(request), "DATA#5 68656c6c6f",
		"DATA#5  END")
	p.check(p.fr.WriteRSTStream(5, http2.ErrCodeStreamClosed))
	p.headers(1)
	p.data(1, message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "k", Value: true}}))
	if _, err := h.Receive(ctx); err != nil {
		t.Errorf("after the reset: %v", err)
	}
}

// TestFilesAtOnce sends several files in each direction during calls, with windows of
// all sizes.
func TestFilesAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, tt := range map[string]struct {
		window uint32
		size   int
	}{"usual": {
		0, 3_000_000,
	}, "bulk": {BulkWindow, 3_000_000}, "7 bytes": {7, 2000}, "300 bytes": {300, 50_000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Window: tt.window}
			h, d := pair(t, o, o)
			go echo(ctx, d)
			var wg sync.WaitGroup
			for i := range 3 {
				want := fileBytes(tt.size+i, byte(i))
				for _, way := range [][2]*Conn{{h, d}, {d, h}} {
					w, err := way[0].OpenFile(ctx, uint64(100+i))
					if err != nil {
						t.Fatal(err)
					}
					wg.Go(func() {
						if err := w.Send(ctx, bytes.NewReader(want), int64(len(want))); err != nil {
							t.Error(err)
						}
					})
					wg.Go(func() {
						f, err := way[1].ReceiveFile(ctx, i, int64(len(want)))
						if err != nil {
							t.Errorf("ReceiveFile: %v", err)
							return
						} else if f.Stream != w.Stream {
							t.Errorf("ReceiveFile has the stream %d, want %d", f.Stream, w.Stream)
							return
						}
						got, err := io.ReadAll(f.Reader(ctx))
						if err != nil {
							t.Errorf("file of transfer %d: %v", i, err)
						} else if !bytes.Equal(got, want) {
							t.Errorf("file of transfer %d: %d bytes, want other %d bytes",
								i, len(got), len(want))
						} else if f.ID() != uint64(100+i) {
							t.Errorf("file of transfer %d has the id %d, want %d", i, f.ID(), 100+i)
						}
						f.Close()
						f.Close()
					})
				}
			}
			for i := range 20 {
				if got, err := h.Call(ctx, xpc.Dict{{Key: "i", Value: int64(i)}}); err != nil {
					t.Errorf("Call: %v", err)
				} else if len(got) != 1 {
					t.Errorf("Call = %v, want one field", got)
				}
			}
			wg.Wait()
			for _, c := range []*Conn{h, d} {
				c.mu.Lock()
				if c.buffered != 0 {
					t.Errorf("%d bytes are still counted", c.buffered)
				}
				c.mu.Unlock()
			}
		})
	}
}

// TestReceiveFileID finds a file by the id of its transfer.
func TestReceiveFileID(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h, d := pair(t, Options{}, Options{})
	found := make(chan string, 1)
	go func() {
		f, err := d.ReceiveFileID(ctx, 9, -1)
		if err != nil {
			found <- err.Error()
			return
		}
		b, err := io.ReadAll(f.Reader(ctx))
		if err != nil {
			found <- err.Error()
			return
		}
		found <- string(b)
		f.Close()
	}()
	for id, text := range map[uint64]string{8: "eight", 9: "nine", 10: "ten"} {
		w, err := h.OpenFile(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Send(ctx, strings.NewReader(text), int64(len(text))); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-found; got != "nine" {
		t.Errorf("transfer 9 = %q", got)
	}
}

// TestFileRefusals covers files that cannot be sent or received.
func TestFileRefusals(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h, d := pair(t, Options{}, Options{})
	if w, err := h.OpenFile(ctx, 0); err == nil {
		t.Errorf("OpenFile(0) = %v, want an error", w)
	} else if w != nil {
		t.Errorf("OpenFile(0) returns %v with its error", w)
	}
	if f, err := h.ReceiveFile(ctx, -1, 5); err == nil {
		t.Errorf("ReceiveFile(-1) = %v, want an error", f)
	} else if f != nil {
		t.Errorf("ReceiveFile(-1) returns %v with its error", f)
	}
	// A source that is too short resets the stream.
	w, err := h.OpenFile(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(ctx, strings.NewReader("four"), 5); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Send of a short source = %v", err)
	}
	if err := w.Send(ctx, strings.NewReader("again"), 5); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send again = %v", err)
	}
	// A receiver resets the stream after it has read all bytes of the file, too.
	w, err = h.OpenFile(ctx, 4)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.ReceiveFileID(ctx, 4, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- w.Send(ctx, zeroReader{}, 1<<40) }()
	if _, err := f.Read(ctx, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	f.Close()
	var e *Error
	if err := <-sent; !errors.Is(err, ErrReset) {
		t.Errorf("Send = %v, want %v", err, ErrReset)
	} else if !errors.As(err, &e) {
		t.Errorf("Send = %v, want an Error", err)
	} else if e.Stream != w.Stream {
		t.Errorf("Send has the stream %d in its error, want %d", e.Stream, w.Stream)
	} else if e.Code != uint32(http2.ErrCodeCancel) {
		t.Errorf("Send has the code %d in its error, want %d", e.Code, http2.ErrCodeCancel)
	} else if errors.Is(err, net.ErrClosed) {
		t.Errorf("Send = %v, which says that the connection is closed", err)
	}
	if _, err := f.Read(ctx, make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close = %v", err)
	}
}

// TestFileEndsEarly has a sender that cancels the file or leaves.
func TestFileEndsEarly(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h, d := pair(t, Options{}, Options{})
	w, err := h.OpenFile(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.ReceiveFileID(ctx, 5, 10)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := f.Read(ctx, make([]byte, 10)); !errors.Is(err, ErrReset) {
		t.Errorf("Read = %v, want %v", err, ErrReset)
	}
	w, _ = h.OpenFile(ctx, 6)
	f, err = d.ReceiveFileID(ctx, 6, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(ctx, strings.NewReader("short"), 5); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f.Reader(ctx)); string(got) != "short" {
		t.Errorf("a file that ends early has %q, want short", got)
	} else if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that ends early = %v, want %v", err, io.ErrUnexpectedEOF)
	} else if errors.Is(err, net.ErrClosed) {
		t.Errorf("a file that ends early = %v, which says that the connection is closed", err)
	}
	// The end of the connection must not be the end of a file.
	if _, err := h.OpenFile(ctx, 7); err != nil {
		t.Fatal(err)
	}
	f, err = d.ReceiveFileID(ctx, 7, -1)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	if got, err := io.ReadAll(f.Reader(ctx)); len(got) != 0 {
		t.Errorf("a file whose connection ends has %q", got)
	} else if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file whose connection ends = %v, want %v", err, io.ErrUnexpectedEOF)
	} else if errors.Is(err, io.EOF) {
		t.Errorf("a file whose connection ends = %v, which is a usual end", err)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

// TestFileWithoutRequest checks that a host reads a file for which it has
// sent no request, and that a device resets it.
func TestFileWithoutRequest(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, want := range []string{"", "short", "longer than the wrapper that is missing"} {
		p, h := handDevice(t, Options{}, 1<<20)
		p.headers(2)
		p.check(p.fr.WriteData(2, true, []byte(want)))
		f, err := h.ReceiveFile(ctx, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f.Reader(ctx)); string(got) != want {
			t.Errorf("the file has %q, want %q", got, want)
		} else if err != nil {
			t.Errorf("the file: %v", err)
		}
	}
	for name, first := range map[string][]byte{
		"raw bytes": bytes.Repeat([]byte("x"), 30), "transfer 0": bare(flagsFileRequest, 0),
		"another message": bare(flagsInit, 1),
	} {
		p, d := handHost(t, Options{}, 1<<20)
		p.headers(5)
		p.data(5, first)
		for got := p.frame(); got != "RST_STREAM#5 STREAM_CLOSED"; got = p.frame() {
			if strings.HasPrefix(got, "error") || strings.HasPrefix(got, "GOAWAY") {
				t.Fatalf("%s: %s", name, got)
			}
		}
		p.data(5, first) // was on its way
		p.data(1, message(xpc.FlagsOneWay, 1, xpc.Dict{{Key: "k", Value: true}}))
		if _, err := d.Receive(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTooManyFiles checks that the stream is refused and not the connection.
func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	p, d := handHost(t, Options{}, 1<<20)
	id := uint32(firstUpload)
	for range maxStreams + 1 {
		p.headers(id)
		id += 2
	}
	for {
		f, err := p.fr.ReadFrame()
		p.check(err)
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			if r.StreamID != id-2 {
				t.Errorf("stream %d is refused, want %d", r.StreamID, id-2)
			}
			if r.ErrCode != http2.ErrCodeRefusedStream {
				t.Errorf("stream %d has the code %v, want %v", r.StreamID, r.ErrCode,
					http2.ErrCodeRefusedStream)
			}
			break
		}
	}
	if err := d.Err(); err != nil {
		t.Error(err)
	}
}

// TestSmallFramesShareMemory sends a file in single bytes.
func TestSmallFramesShareMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := handHost(t, Options{}, 1<<20)
		p.headers(5)
		p.data(5, request)
		want := fileBytes(20_000, 1)
		for i := range want {
			p.data(5, want[i:i+1])
		}
		synctest.Wait()
		d.mu.Lock()
		if n := len(d.streams[5].file.chunks); n != 2 {
			t.Errorf("%d chunks for %d bytes", n, len(want))
		}
		d.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		f, err := d.ReceiveFile(ctx, 0, int64(len(want)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f.Reader(ctx)); err != nil {
			t.Errorf("the file: %v", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%d bytes arrive, want other %d bytes", len(got), len(want))
		}
		// Waiting for more of another file must end with the context.
		p.headers(7)
		p.data(7, request)
		f, err = d.ReceiveFile(ctx, 1, 5)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(ctx, make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v, want a time-out", err)
		}
		d.Close()
		p.c.Close()
	})
}
