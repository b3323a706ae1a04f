package ostracerelay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// TestStreamInPieces sends one byte at a time and cancels calls of Next in between.
func TestStreamInPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe()
		defer d.Close()
		s := &Stream{client: New(c)}
		defer s.Close()
		for i, b := range goldenRecord {
			if _, err := s.Next(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("at byte %d: %v, want a time-out", i, err)
			}
			if _, err := d.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		e, err := s.Next(t.Context())
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		if *e != goldenEntry {
			t.Errorf("Next = %+v, want %+v", *e, goldenEntry)
		}
	})
}

func TestStreamHostile(t *testing.T) {
	t.Parallel()
	bad := bytes.Clone(goldenRecord)
	bad[frameHead+offMsgLen] = 0xFF
	long := append([]byte{2, 0, 0, 0x20, 0}, make([]byte, 2<<20)...)
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tc := range []struct {
		name string
		in   []byte
		good int // number of entries before the error
		want error
	}{
		{"end", cat(goldenRecord, goldenRecord), 2, io.EOF},
		{"end in a head", cat(goldenRecord, []byte{2, 0}), 1, io.ErrUnexpectedEOF},
		{"end in a record", cat(goldenRecord, goldenRecord[:50]), 1, io.ErrUnexpectedEOF},
		{"reply in the stream", cat(goldenRecord, []byte{1, 0, 0, 0, 0}), 1, ErrProtocol},
		{
			"huge record", cat(goldenRecord, []byte{2, 0xFF, 0xFF, 0xFF, 0x7F}), 1,
			new(link.FrameError),
		},
		{"malformed record", cat(goldenRecord, bad, goldenRecord), 2, io.EOF},
		{"malformed records alone", cat(bad, bad, bad), 0, io.EOF},
		{"empty record", cat(goldenRecord, []byte{2, 0, 0, 0, 0}, goldenRecord), 2, io.EOF},
		{"long record", cat(goldenRecord, long, goldenRecord), 2, io.EOF},
		{"end in a long record", cat(goldenRecord, long[:MaxRecord]), 1, io.ErrUnexpectedEOF},
	} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/batch=%v", tc.name, batch), func(t *testing.T) {
				s := &Stream{client: clientOf(t, tc.in)}
				next := func() (int, error) { _, err := s.Next(t.Context()); return 1, err }
				if batch {
					dst := make([]Entry, 10)
					next = func() (int, error) { return s.NextBatch(t.Context(), dst) }
				}
				got := 0
				for {
					n, err := next()
					if err == nil {
						got += n
						continue
					}
					var frame *link.FrameError
					if got != tc.good {
						t.Errorf("%d entries, then %v, want %d", got, err, tc.good)
					}
					if !errors.Is(err, tc.want) && !(errors.As(tc.want, &frame) && errors.As(err,
						&frame)) {
						t.Errorf("%d entries, then %v, want %v", got, err, tc.want)
					}
					break
				}
				if n, err := next(); err == nil {
					t.Errorf("behind the error: %d entries", n)
				}
				odd := strings.Contains(tc.name, "malformed") ||
					strings.Contains(tc.name, "long") || strings.Contains(tc.name, "empty")
				if (s.Malformed() > 0) != odd {
					t.Errorf("%d malformed records", s.Malformed())
				}
				if n := cap(s.buf); n > 4*MaxRecord {
					t.Errorf("the buffer has grown to %d bytes", n)
				}
			})
		}
	}
}

func TestDeviceEnds(t *testing.T) {
	t.Parallel()
	t.Run("silent host", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, ended := newRig(t).dial()
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Serve = %v, want a time-out", err)
			}
		})
	})
	t.Run("context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			c, ended := servicetest.Dial(ctx, t, r.dev)
			if _, err := New(c).StartActivity(t.Context(), Activity{}); err != nil {
				t.Fatal(err)
			}
			for range 3000 { // the pipe is full, and Serve waits for a write
				r.phone.Log.Write(log.Entry{PID: 1, Message: strings.Repeat("y", 500)})
			}
			synctest.Wait()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Serve = %v", err)
			}
		})
	})
	t.Run("host closes a silent stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, ended := newRig(t).dial()
			cl := New(c)
			s, err := cl.StartActivity(t.Context(), Activity{})
			if err != nil {
				t.Fatal(err)
			}
			waiting := make(chan error, 1)
			go func() { _, err := s.Next(t.Context()); waiting <- err }()
			synctest.Wait()
			s.Close()
			cl.Close()
			if err := <-waiting; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Next = %v, want net.ErrClosed", err)
			}
			if err := <-ended; err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
	})
}
