package dtx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// hostileBuffer is what each side may keep of a hostile peer.
const hostileBuffer = 8 << 20

// attacker is a peer that does not keep to the protocol.
type attacker struct {
	testing.TB
	net.Conn
}

// say writes what it is given. It reports false when the connection is over.
func (a *attacker) say(pieces ...[]byte) bool {
	_, err := a.Write(bytes.Join(pieces, nil))
	return err == nil
}

// flood says b until n bytes are out or the connection is over.
func (a *attacker) flood(n int, b []byte) {
	for said := 0; said < n && a.say(b); said += len(b) {
	}
}

// readAll takes the answers, so that the connection does not end for want of that.
func (a *attacker) readAll() { go func() { _, _ = io.Copy(io.Discard, a.Conn) }() }

// open asks for a channel without waiting for an answer.
func (a *attacker) open(code int32, identifier string) []byte {
	return Append(nil, call(a, Message{ID: 1}, selRequestChannel, Int32(code), identifier))
}

func (a *attacker) cancel(code int32) []byte {
	return Append(nil, call(a, Message{ID: 1}, selCancelChannel, Int32(code)))
}

// Parts of messages.
var (
	wireAck    = Append(nil, &Message{ID: 3, Conversation: 1, Channel: 2})
	wireParts  = Append(nil, &Message{ID: 3, Type: Data, Payload: make([]byte, fragmentBody+1)})
	wireFirst  = wireParts[:HeaderSize]
	wireSecond = wireParts[HeaderSize : HeaderSize+65536]
	wireThird  = wireParts[HeaderSize+65536:]
)

// attack is one thing that a hostile peer does.
type attack struct {
	name string
	play func(a *attacker)
	// want is why the connection ends. With nil it lives on, and the call that waits
	// ends by its own deadline.
	want error
	// may is what may end the connection all the same.
	may error
	// alloc bounds the bytes that are taken in all; 0 means no bound. What is kept is
	// bounded always.
	alloc uint64
}

// says is an attack of nothing but bytes.
func says(name string, want error, pieces ...[]byte) attack {
	return attack{name: name, want: want, play: func(a *attacker) { a.say(pieces...) }}
}

// claims is says for lengths that are not true: no memory may be taken for them.
func claims(name string, want error, pieces ...[]byte) attack {
	c := says(name, want, pieces...)
	c.alloc = 2 << 20
	return c
}

// onTheWire are attacks on the format, which both sides read alike.
var onTheWire = []attack{
	{name: "closes at once", want: ErrPeerClosed, play: func(a *attacker) { a.Close() }},
	says("another protocol", ErrMagic, bytes.Repeat([]byte("HTTP/1.1 400 Bad Request\r\n"), 2)),
	says("zeros", ErrMagic, make([]byte, 4096)),

	says("header of 0 bytes", ErrHeader, patched(wireAck, 4, 0)),
	says("header of 31 bytes", ErrHeader, patched(wireAck, 4, 31)),
	claims("header of 2^31 bytes", ErrTooLarge, patched(wireAck, 4, 1<<31)),
	claims("header of 2^32-1 bytes", ErrTooLarge, patched(wireAck, 4, 1<<32-1)),

	says("body of 0 bytes", ErrSizes, patched(wireAck, 12, 0)),
	says("body of 15 bytes", ErrSizes, patched(wireAck, 12, payloadHeaderSize-1)),
	claims("body over the limit", ErrTooLarge, patched(wireAck, 12, hostileBuffer+1)),
	claims("body of 2^31 bytes", ErrTooLarge, patched(wireAck, 12, 1<<31)),
	claims("body of 2^32-1 bytes", ErrTooLarge, patched(wireAck, 12, 1<<32-1)),
	claims("body at the limit that does not come", nil, patched(wireAck, 12, hostileBuffer-4096)),
	claims("fragments over the limit", ErrTooLarge, patched(wireFirst, 12, hostileBuffer+1)),

	says("no fragments", ErrFragment, patched(wireAck, 8, 0)),
	says("index over count", ErrFragment, patched(wireAck, 8, 0x00010001)),
	says("begins in the middle", ErrFragment, wireSecond),
	says("begins twice", ErrFragment, wireFirst, wireFirst),
	says("fragment twice", ErrFragment, wireFirst, wireSecond, wireSecond),
	says("fragment left out", ErrFragment, wireFirst, wireThird),
	says("count changes", ErrFragment, wireFirst, patched(wireSecond, 8, 0x00040001)),
	says("fragments too short", ErrSizes, patched(wireFirst, 12, 70_000), wireSecond, wireThird),
	says("fragments too long", ErrSizes,
		patched(wireFirst, 12, 65_600), wireSecond, patched(wireThird, 12, 0xFFFF)),
	says("fragment that never ends", nil, patched(wireFirst, 12, 4<<20), wireSecond[:40_000]),

	says("arguments longer than the message", ErrSizes, patched(wireAck, 36, 1)),
	says("arguments of 2^32-1 bytes", ErrSizes, patched(wireAck, 36, 1<<32-1)),
	says("total too long", ErrSizes, patched(wireAck, 40, 1)),
	says("total of 2^32-16 bytes", ErrSizes, patched(wireAck, 40, 0xFFFFFFF0)),

	{name: "empty fragments", want: ErrSizes, play: func(a *attacker) {
		a.say(patched(wireFirst, 8, 0xFFFF0000))
		for i := range uint32(0xFFFE) {
			if !a.say(patched(wireFirst, 8, 0xFFFF0000+i+1, 12, 0)) {
				return
			}
		}
	}},
	{name: "messages that are never finished", want: ErrTooLarge, play: func(a *attacker) {
		for i := range uint32(MaxAssemblies + 1) {
			a.say(patched(wireFirst, 16, i))
		}
	}},
	{name: "halves of large messages", want: ErrTooLarge, play: func(a *attacker) {
		const half = hostileBuffer / 2
		for i := range uint32(8) {
			begin := patched(wireFirst, 12, half+65536, 16, i)
			if !a.say(begin, patched(wireFirst, 8, 0x00030001, 12, half, 16, i),
				make([]byte, half)) {
				return
			}
		}
	}},
	{name: "one byte a minute", play: func(a *attacker) {
		for i := 0; a.say(wireParts[i : i+1]); i++ {
			time.Sleep(time.Minute)
		}
	}},
	{name: "nothing at all", play: func(*attacker) {}},
}

// unasked are attacks with well-formed messages that nobody asked for. Both sides answer
// them alike.
var unasked = []attack{
	{name: "replies to calls that were not made", play: func(a *attacker) {
		for id := range uint32(50_000) {
			m := Message{ID: 1000 + id, Conversation: 1, Channel: int32(id % 7), Type: Object}
			if !a.say(Append(nil, &m)) {
				return
			}
		}
	}},
	{name: "replies of other conversations", play: func(a *attacker) {
		for _, conversation := range []uint32{3, 5, 1<<31 - 1, 1<<32 - 1} {
			m := Message{ID: 1, Conversation: conversation, Type: Object, Payload: archive(a, "x")}
			a.say(Append(nil, &m))
		}
	}},
	{name: "events on no channel", play: func(a *attacker) {
		a.readAll()
		event := Message{ID: 1, Channel: -77, Type: Data, Payload: make([]byte, 1<<20)}
		a.flood(32<<20, Append(nil, &event))
	}},
	{name: "events on channel 0", play: func(a *attacker) {
		a.flood(32<<20, Append(nil, &Message{ID: 1, Type: Data, Payload: make([]byte, 1<<20)}))
	}},
	{name: "calls on channel 0", play: func(a *attacker) {
		a.readAll()
		a.flood(1<<20, Append(nil, call(a, Message{ID: 1, ExpectsReply: true}, "nothing")))
	}},
	{name: "calls without reading the answers", want: ErrStalled, play: func(a *attacker) {
		a.flood(64<<20, Append(nil, call(a, Message{ID: 1, ExpectsReply: true}, "nothing")))
	}},
	{name: "selectors of 4 MiB", play: func(a *attacker) {
		b := Append(nil, call(a, Message{ID: 1, ExpectsReply: true}, strings.Repeat("x", 4<<20)))
		a.flood(24<<20, b)
	}},
	{name: "identifiers of 4 MiB", play: func(a *attacker) {
		identifier := strings.Repeat("x", 4<<20)
		m := call(a, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(1), identifier)
		a.flood(24<<20, Append(nil, m))
	}},
	{name: "capabilities without end", play: func(a *attacker) {
		value := make([]byte, 16<<10)
		for i := range 2000 {
			d := nskeyed.Dict{{Key: fmt.Sprint("capability ", i), Value: value}}
			if !a.say(Append(nil, call(a, Message{ID: 1}, selCapabilities, d))) {
				return
			}
		}
	}},
	{name: "messages of unknown types", play: func(a *attacker) {
		for kind := range 256 {
			a.say(Append(nil, &Message{ID: 1, Type: Type(kind), Payload: []byte("x")}))
		}
	}},
}

// onHost are attacks of a device. The host has a channel 1 that nobody reads, and accepts
// every channel that the device opens.
var onHost = []attack{
	{name: "events without end", play: func(a *attacker) {
		a.readAll()
		event := Message{ID: 1, Channel: -1, Type: Data, Payload: make([]byte, 100_000)}
		a.flood(64<<20, Append(nil, &event))
	}},
	{name: "empty events without end", play: func(a *attacker) {
		a.readAll()
		a.flood(16<<20, Append(nil, &Message{ID: 1, Channel: -1, Type: Data}))
	}},
	{name: "barriers without end", play: func(a *attacker) {
		a.readAll()
		a.flood(1<<20, Append(nil, &Message{ID: 1, Channel: -1, Type: Barrier, ExpectsReply: true}))
	}},
	{name: "channels without end", play: func(a *attacker) {
		a.readAll()
		for code := range int32(10_000) {
			if !a.say(a.open(code+1, "x")) {
				return
			}
		}
	}},
	{name: "channels with long identifiers", play: func(a *attacker) {
		a.readAll()
		identifier := strings.Repeat("x", 64<<10)
		for code := range int32(MaxChannels - 3) {
			if !a.say(a.open(code+1, identifier)) {
				return
			}
		}
	}},
	{name: "large messages on many channels", play: func(a *attacker) {
		a.readAll()
		m := Message{ID: 1, Type: Data, Payload: make([]byte, 100_000)}
		for code := range int32(MaxChannels - 3) {
			m.Channel = code + 1
			a.say(a.open(code+1, "x"), Append(nil, &m))
		}
	}},
}

// onDevice are attacks of a host. The device has a channel whose calls are answered and
// one that never answers.
var onDevice = []attack{
	{name: "channels without end", play: func(a *attacker) {
		a.readAll()
		for code := range int32(10_000) {
			if !a.say(a.open(code+1, "stuck")) {
				return
			}
		}
	}},
	{name: "channels that are cancelled while they are busy", play: func(a *attacker) {
		a.readAll()
		for code := range int32(10_000) {
			busy := Append(nil, call(a, Message{ID: 1, Channel: code + 1}, "x"))
			if !a.say(a.open(code+1, "stuck"), busy, a.cancel(code+1)) {
				return
			}
		}
	}},
	{name: "large messages on many channels", play: func(a *attacker) {
		a.readAll()
		m := Message{ID: 1, Type: Data, Payload: make([]byte, 100_000)}
		for code := range int32(MaxChannels - 1) {
			m.Channel = code + 1
			a.say(a.open(code+1, "stuck"), Append(nil, &m))
		}
	}},
	{name: "empty messages on many channels", play: func(a *attacker) {
		a.readAll()
		for code := range int32(100) {
			a.say(a.open(code+1, "stuck"))
			a.flood(4096*48,
				bytes.Repeat(Append(nil, &Message{ID: 1, Channel: code + 1, Type: Data}), 512))
		}
	}},
	{name: "large answers that nobody reads", may: ErrStalled, play: func(a *attacker) {
		for code := range int32(200) {
			ask := Append(nil,
				call(a, Message{ID: 1, Channel: code + 1, ExpectsReply: true}, "picture"))
			a.say(a.open(code+1, "x"), ask)
		}
	}},
	{name: "calls on one channel without reading the answers", play: func(a *attacker) {
		a.say(a.open(1, "x"))
		m := Message{ID: 1, Channel: 1, ExpectsReply: true}
		a.flood(64<<20, Append(nil, call(a, m, "echo:", make([]byte, 100_000))))
	}},
}

// usage is what a connection keeps.
type usage struct {
	heap, total uint64
	goroutines  int
}

func measure() usage {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return usage{m.HeapAlloc, m.TotalAlloc, runtime.NumGoroutine()}
}

// check compares what is kept with what there was before.
func (u usage) check(t *testing.T, before usage, alloc uint64) {
	t.Helper()
	if u.heap > before.heap+2*hostileBuffer {
		t.Errorf("%d bytes are kept, want at most %d", u.heap-before.heap, 2*hostileBuffer)
	}
	if alloc > 0 && u.total > before.total+alloc {
		t.Errorf("%d bytes were taken, want at most %d", u.total-before.total, alloc)
	}
	if n := u.goroutines - before.goroutines; n > MaxChannels+20 {
		t.Errorf("%d goroutines, want at most %d", n, MaxChannels+20)
	}
}

// wantEnd checks the error of a call whose connection is under attack.
func wantEnd(t *testing.T, err, want error) {
	t.Helper()
	var own *Error
	if !errors.As(err, &own) {
		t.Errorf("%v (%T), want a *Error", err, err)
	}
	if want == nil {
		want = context.DeadlineExceeded
	}
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if err != nil && len(err.Error()) > 2000 {
		t.Errorf("the text of the error has %d bytes", len(err.Error()))
	}
}

// TestHostileDevice attacks a host that waits for the answer to a call. The call ends in
// its deadline or with the reason of the connection's end, and what the host keeps is
// bounded all the time.
func TestHostileDevice(t *testing.T) {
	for _, x := range append(append(append([]attack{}, onTheWire...), unasked...), onHost...) {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := measure()
				near, far := linktest.Pipe()
				accept := func(*Channel) (ChannelOptions, error) { return ChannelOptions{}, nil }
				c := New(near, Options{Silent: true, Buffer: hostileBuffer, Accept: accept})
				feed := newChannel(c, 1, "feed")
				if err := c.register(feed, ChannelOptions{}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				result := make(chan error, 1)
				go func() { _, err := c.Control().Call(ctx, "ask"); result <- err }()
				synctest.Wait()
				played := make(chan struct{})
				go func() { defer close(played); x.play(&attacker{t, far}) }()
				synctest.Wait()
				measure().check(t, before, x.alloc)
				wantEnd(t, <-result, x.want)
				if ended := c.Err() != nil; ended != (x.want != nil) {
					t.Errorf("the connection's end: %v, want %v", c.Err(), x.want)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				far.Close()
				<-played
			})
		})
	}
}

// stuck is a channel that answers nothing.
func stuck(*Channel) Handler {
	return HandlerFunc(func(ctx context.Context, _ *Incoming) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
}

// TestHostileHost attacks a device. What it keeps is bounded all the time, and Serve ends
// with the context or with the reason of the connection's end.
func TestHostileHost(t *testing.T) {
	for _, x := range append(append(append([]attack{}, onTheWire...), unasked...), onDevice...) {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := measure()
				near, far := linktest.Pipe()
				s := &Server{
					Buffer:   hostileBuffer,
					Channels: map[string]func(*Channel) Handler{"x": service, "stuck": stuck},
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				result := make(chan error, 1)
				go func() { result <- s.Serve(ctx, near) }()
				played := make(chan struct{})
				go func() { defer close(played); x.play(&attacker{t, far}) }()
				synctest.Wait()
				measure().check(t, before, x.alloc)
				err := <-result
				if errors.Is(x.want, ErrPeerClosed) {
					if err != nil {
						t.Errorf("Serve of a host that left: %v", err)
					}
				} else if x.may == nil || !errors.Is(err, x.may) {
					wantEnd(t, err, x.want)
				}
				far.Close()
				<-played
			})
		})
	}
}

// TestCutAtEachByte has a peer that closes inside a message, at each byte.
func TestCutAtEachByte(t *testing.T) {
	body := Append(nil,
		call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(1), "x"))
	whole := body[HeaderSize:]
	head := func(index, length int) []byte {
		return patched(body[:HeaderSize], 8, uint32(3<<16|index), 12, uint32(length))
	}
	cut := len(whole) / 3
	fragments := bytes.Join([][]byte{
		head(0, len(whole)), head(1, cut), whole[:cut], head(2, len(whole)-cut), whole[cut:],
	}, nil)
	for name, b := range map[string][]byte{"one fragment": body, "three fragments": fragments} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ context.Context) {
				for n := range len(b) + 1 {
					want := ErrIncomplete
					if n == 0 || n == len(b) {
						want = ErrPeerClosed
					}
					c, p := peer(t, Options{Silent: true})
					p.Write(b[:n])
					p.Close()
					<-c.Done()
					err := c.Err()
					if !errors.Is(err, want) {
						t.Fatalf("%d of %d bytes: %v, want %v", n, len(b), err, want)
					}
					if !errors.Is(err, net.ErrClosed) {
						t.Fatalf("%d of %d bytes: %v, want net.ErrClosed", n, len(b), err)
					}
				}
			})
		})
	}
}
