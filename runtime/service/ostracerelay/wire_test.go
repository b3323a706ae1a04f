package ostracerelay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// memory is a connection that reads from a buffer and discards what is written.
type memory struct {
	net.Conn
	io.Reader
}

func (m memory) Read(p []byte) (int, error)       { return m.Reader.Read(p) }
func (m memory) Write(p []byte) (int, error)      { return len(p), nil }
func (m memory) Close() error                     { return nil }
func (m memory) SetDeadline(time.Time) error      { return nil }
func (m memory) SetReadDeadline(time.Time) error  { return nil }
func (m memory) SetWriteDeadline(time.Time) error { return nil }

func FuzzStream(f *testing.F) {
	f.Add(goldenRecord)
	f.Add(append(bytes.Clone(goldenRecord), goldenRecord...))
	f.Add([]byte{2, 0, 0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Stream{client: New(memory{Reader: bytes.NewReader(b)})}
		for range len(b) + 2 {
			e, err := s.Next(context.Background())
			if err == nil {
				again := appendRecord(nil, e)
				if len(again) > maxSentRecord+frameHead {
					t.Fatalf("record of %d bytes", len(again))
				}
				var second Entry
				if err := new(decoder).decode(again[frameHead:], &second); err != nil {
					t.Fatalf("what was written is not read: %v", err)
				}
				if third := appendRecord(nil, &second); !bytes.Equal(third, again) {
					t.Fatalf("%+v became %+v", e, second)
				}
			} else if refusal := (*service.Error)(nil); !errors.As(err, &refusal) {
				t.Fatalf("%v (%T)", err, err)
			}
			if s.err != nil && err != nil {
				return
			}
		}
		t.Fatal("the stream does not end")
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 9, 'b', 'p'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := readReply(bytes.NewReader(b)); err == nil && d == nil {
			t.Fatal("neither reply nor error")
		}
	})
}

func FuzzClient(f *testing.F) { suite.FuzzClient(f, "\x01\x00\x00\x00\x09bp") }

func FuzzDevice(f *testing.F) {
	suite.FuzzDevice(f,
		"\x00\x00\x00\x46<plist><dict><key>Request</key><string>PidList</string></dict></plist>",
		"\x00\x00\x00\x09b",
	)
}

// typical is a record of a kind that SpringBoard writes often.
var typical = Entry{
	Time: time.Unix(1700000000, 0), PID: 58, Kind: KindLog,
	ProcessPath: "/System/Library/CoreServices/SpringBoard.app/SpringBoard",
	ImagePath:   "/System/Library/PrivateFrameworks/FrontBoard.framework/FrontBoard",
	Subsystem:   "com.apple.FrontBoard", Category: "Common",
	Message: "[app<com.example.app>:1234] Setting process visibility to: Foreground",
}

// endless repeats a block of bytes.
type endless struct {
	block []byte
	off   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.block[e.off:])
	e.off = (e.off + n) % len(e.block)
	return n, nil
}

func BenchmarkStreamNext(b *testing.B) {
	s := &Stream{client: New(
		memory{Reader: &endless{block: bytes.Repeat(appendRecord(nil, &typical), 100)}},
	)}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	b.ReportAllocs()
	b.SetBytes(int64(len(appendRecord(nil, &typical))))
	for b.Loop() {
		if _, err := s.Next(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkStreamNextBatch(b *testing.B) {
	s := &Stream{client: New(
		memory{Reader: &endless{block: bytes.Repeat(appendRecord(nil, &typical), 100)}},
	)}
	dst := make([]Entry, 256)
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		n, err := s.NextBatch(context.Background(), dst)
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkAppendRecord(b *testing.B) {
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], &typical)
	}
}

// BenchmarkManyPhones has 64 phones that log 500 lines per second each, to one host per
// phone. The metric is the cost of one second of that.
func BenchmarkManyPhones(b *testing.B) {
	const phones, rate = 64, 500
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	counts := make(chan int, phones)
	var wg sync.WaitGroup
	for i := range phones {
		p, err := phone.New(phone.Options{LogRate: rate, Serial: i})
		if err != nil {
			b.Fatal(err)
		}
		c, d := link.Pipe()
		wg.Go(func() { _ = (NewDevice(service.Env{Phone: p})).Serve(ctx, d); d.Close() })
		s, err := New(c).StartActivity(ctx, Activity{})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			dst := make([]Entry, 256)
			for {
				n, err := s.NextBatch(ctx, dst)
				if err != nil {
					s.Close()
					return
				}
				counts <- n
			}
		})
	}
	b.ReportAllocs()
	for b.Loop() { // one operation is 1000 entries of all phones together
		for got := 0; got < 1000; {
			got += <-counts
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	cancel()
	go func() { wg.Wait(); close(counts) }()
	for range counts {
	}
}

// BenchmarkDeviceToClient passes entries through the phone, the device side, a pipe and
// the client.
func BenchmarkDeviceToClient(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	c, ended := servicetest.Dial(context.Background(), b, NewDevice(service.Env{Phone: p}))
	s, err := New(c).StartActivity(context.Background(), Activity{})
	if err != nil {
		b.Fatal(err)
	}
	e := log.Entry{Time: typical.Time, PID: 58, ProcessPath: typical.ProcessPath,
		ImagePath:   typical.ImagePath,
		ProcessUUID: [16]byte{1}, ImageUUID: [16]byte{2}, Subsystem: "s", Category: "c",
		Message: typical.Message, ThreadID: 1, MachTime: 1}
	dst := make([]Entry, 256)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(1000, b.N-done)
		for range n {
			p.Log.Write(e)
		}
		done += n
		for n > 0 {
			got, err := s.NextBatch(context.Background(), dst)
			if err != nil {
				b.Fatal(err)
			}
			n -= got
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	s.Close()
	<-ended
}
