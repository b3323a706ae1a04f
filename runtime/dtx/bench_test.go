package dtx

import (
	"bytes"
	"context"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// BenchmarkDispatch is a stream of small calls that a handler takes, arguments
// decoded: what a device log or a test run looks like.
func BenchmarkDispatch(b *testing.B) {
	near, far := link.Pipe()
	const batch, ahead = 64, 32 // what is not taken yet fits the channel's queue
	taken := make(chan struct{}, ahead)
	n := 0
	c := New(near, Options{Silent: true, Control: func(*Channel) ChannelOptions {
		return ChannelOptions{Handler: HandlerFunc(func(_ context.Context, in *Incoming) (any,
			error) {
			args, err := in.Args()
			if err != nil {
				b.Errorf("arguments of %s: %v", in.Selector, err)
			}
			if _, ok := args.String(0); !ok {
				b.Errorf("arguments %v, want a text first", args)
			}

			n++
			if n%batch == 0 {
				taken <- struct{}{}
			}
			return nil, nil
		})}
	}})
	defer c.Close()
	defer far.Close()
	one := Append(nil, call(b, Message{ID: 7}, "outputReceived:fromProcess:atTime:",
		"a line of output", Int32(300), Int64(1<<40)))
	many := bytes.Repeat(one, batch)
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += batch {
		if sent >= ahead*batch {
			<-taken
		}
		if _, err := far.Write(many); err != nil {
			b.Fatal(err)
		}
	}
	for range min(ahead, (b.N+batch-1)/batch) {
		<-taken
	}
}

// BenchmarkDecode is the codec alone, on the same message.
func BenchmarkDecode(b *testing.B) {
	one := Append(nil, call(b, Message{ID: 7}, "outputReceived:fromProcess:atTime:",
		"a line of output", Int32(300), Int64(1<<40)))
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		m, _, err := Decode(one)
		if err != nil {
			b.Fatal(err)
		}
		args, err := DecodeArgs(m.Aux)
		if err != nil {
			b.Fatalf("DecodeArgs: %v", err)
		}
		if len(args) != 3 {
			b.Fatalf("%d arguments, want 3", len(args))
		}
	}
}

func echo(b *testing.B) *Channel {
	c := serve(b, &Server{Channels: map[string]func(*Channel) Handler{"x": service}}, Options{})
	return open(b, c, "x", ChannelOptions{})
}

func BenchmarkRoundTrip(b *testing.B) {
	ch := echo(b)
	b.ReportAllocs()
	for b.Loop() {
		wantResult(b, ch, int64(5), "echo:", int64(5))
	}
}

// BenchmarkRoundTripParallel has many callers share a connection, so that
// messages are written together.
func BenchmarkRoundTripParallel(b *testing.B) {
	ch := echo(b)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			wantResult(b, ch, int64(5), "echo:", int64(5))
		}
	})
}

// BenchmarkLargeReply is a screenshot's worth of data in one reply.
func BenchmarkLargeReply(b *testing.B) {
	picture := make([]byte, 3<<20)
	c := serve(b, &Server{Channels: map[string]func(*Channel) Handler{"x": func(*Channel) Handler {
		return HandlerFunc(func(context.Context, *Incoming) (any, error) { return picture, nil })
	}}}, Options{})
	ch := open(b, c, "x", ChannelOptions{})
	b.SetBytes(int64(len(picture)))
	b.ReportAllocs()
	for b.Loop() {
		v, err := ch.Call(context.Background(), "takeScreenshot")
		if err != nil {
			b.Fatalf("takeScreenshot: %v", err)
		}
		if n := len(v.([]byte)); n != len(picture) {
			b.Fatalf("a picture of %d bytes, want %d", n, len(picture))
		}

	}
}

func BenchmarkReassembly(b *testing.B) {
	raw := fixture(b, "fragmentedmessage.bin")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := &Message{ID: 1, Type: Data, Payload: make([]byte, 1<<20)}
	buf := Append(nil, m)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], m)
	}
}

func BenchmarkDecompress(b *testing.B) {
	m, _, err := Decode(fixture(b, "instruments-metrics-dtx.bin"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(158592)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Bytes(); err != nil {
			b.Fatal(err)
		}
	}
}
