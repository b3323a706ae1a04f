package usbmux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// listenerKeeps is how much memory a listener may keep because of a hostile
// multiplexer.
const listenerKeeps = 4 << 20

func heapAlloc() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// flood writes b until n bytes have been written or the connection has ended.
func flood(c net.Conn, n int, b []byte) {
	for said := 0; said < n; said += len(b) {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// TestHostileMultiplexer attacks a listener. Next must end by its deadline or with a
// typed error, and the memory that the listener keeps must be bounded.
func TestHostileMultiplexer(t *testing.T) {
	unknown := appendFrame(nil, frame{message: 99})
	huge := func(n uint32) func(net.Conn) {
		return func(c net.Conn) {
			b := bytes.Clone(unknown)
			binary.LittleEndian.PutUint32(b, n)
			_, _ = c.Write(b)
		}
	}
	for name, x := range map[string]struct {
		play func(c net.Conn)
		want error
	}{
		"nothing at all":  {func(net.Conn) {}, context.DeadlineExceeded},
		"closes at once":  {func(c net.Conn) { _ = link.CloseWrite(c) }, io.EOF},
		"0 bytes":         {huge(0), link.ErrProtocol},
		"15 bytes":        {huge(headerSize - 1), link.ErrProtocol},
		"2^31 bytes":      {huge(1 << 31), link.ErrProtocol},
		"2^32-1 bytes":    {huge(1<<32 - 1), link.ErrProtocol},
		"never completed": {huge(maxReply), context.DeadlineExceeded},
		"one byte a minute": {func(c net.Conn) {
			for i := range unknown {
				if _, err := c.Write(unknown[i : i+1]); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}, context.DeadlineExceeded},
		"unknown events without end": {func(c net.Conn) {
			flood(c, 1<<20, bytes.Repeat(unknown, 1000))
		}, context.DeadlineExceeded},
		"large events without end": {func(c net.Conn) {
			flood(c, 64<<20,
				appendFrame(nil, frame{message: 99, body: make([]byte, maxReply-headerSize)}))
		}, context.DeadlineExceeded},
		"malformed events without end": {func(c net.Conn) {
			flood(c, 1<<20,
				appendFrame(nil, frame{message: msgPlist, version: 1, body: []byte("junk")}))
		}, context.DeadlineExceeded},
		"departures of nobody": {func(c net.Conn) {
			gone := appendFrame(nil, frame{message: msgDeviceRemove, body: []byte{1, 0, 0, 0}})
			flood(c, 1<<20, bytes.Repeat(gone, 1000))
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := heapAlloc()
				here, there := linktest.Pipe()
				c := newClient(t,
					Options{Dial: func(context.Context) (net.Conn, error) { return here, nil }})
				played := make(chan struct{})
				go func() {
					defer close(played)
					_, _ = there.Write(appendFrame(nil, resultFrame(versionPlist, requestTag, OK)))
					x.play(there)
				}()
				l, err := c.Listen(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				_, err = l.Next(ctx)
				if kept := heapAlloc(); kept > before+listenerKeeps {
					t.Errorf("%d bytes are kept, want at most %d", kept-before, listenerKeeps)
				}
				var own *Error
				if !errors.As(err, &own) {
					t.Errorf("%v (%T), want an *Error", err, err)
				}
				if !errors.Is(err, x.want) {
					t.Errorf("%v, want %v", err, x.want)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				there.Close()
				<-played
			})
		})
	}
}

// TestListenerMovesNothing checks that a listener with many buffered events takes one
// without copying the others, so that the cost does not grow with the square of their
// number.
func TestListenerMovesNothing(t *testing.T) {
	t.Parallel()
	one := mustEncode(versionPlist, Event{Attached, newEntry(Attachment{UDID: testUDID}, 1)})
	l := &Listener{in: bytes.Repeat(one, 100)}
	last := &l.in[len(l.in)-1]
	for range 99 {
		if _, err := l.receive(); err != nil {
			t.Fatal(err)
		}
	}
	if &l.in[len(l.in)-1] != last {
		t.Error("the last event was moved")
	}
}

// TestRecordsWithoutEnd saves more pair records than a Muxer keeps in memory. Further
// ones must be refused until others are deleted.
func TestRecordsWithoutEnd(t *testing.T) {
	t.Parallel()
	r := &memoryRecords{m: map[string][]byte{}}
	record := make([]byte, maxRecordBytes/16)
	refused := 0
	for i := range 64 {
		err := r.Write(fmt.Sprint("record ", i), record)
		if err == nil {
			continue
		}
		refused++
		if !errors.Is(err, errRecordsFull) {
			t.Fatalf("Write: %v, want %v", err, errRecordsFull)
		}
		if got := recordResult(err); got != ioFailure {
			t.Fatalf("the result of %v is %d, want %d", err, got, ioFailure)
		}
	}
	if refused != 49 {
		t.Errorf("%d of 64 records are refused, want 49", refused)
	}
	kept := 0
	for id, b := range r.m {
		kept += len(id) + len(b)
	}
	if kept > maxRecordBytes {
		t.Errorf("%d bytes are kept, want at most %d", kept, maxRecordBytes)
	}
	if kept != r.size {
		t.Errorf("%d bytes are kept, but %d counted", kept, r.size)
	}
	if err := r.Delete("record 0"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a record with a known id replaces the old one
		if err := r.Write("record 0", record); err != nil {
			t.Errorf("Write after a deletion: %v", err)
		}
	}
}
