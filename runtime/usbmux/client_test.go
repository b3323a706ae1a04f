package usbmux

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// scripted is a multiplexer that answers every connection with fixed bytes and then,
// unless hang is set, closes it.
func scripted(answer string, hang bool) link.DialFunc {
	return func(context.Context) (net.Conn, error) {
		here, there := linktest.Prompt()
		go func() {
			readFrame(there, maxReply)
			io.WriteString(there, answer)
			if hang {
				io.Copy(io.Discard, there)
			}
			there.Close()
		}()
		return here, nil
	}
}

// calls is every request of a Client.
var calls = map[string]func(context.Context, *Client) error{
	"list": func(ctx context.Context, c *Client) error {
		_, err := c.List(ctx)
		return err
	},
	"connect": func(ctx context.Context, c *Client) error {
		_, err := c.Connect(ctx, 3,
			1)
		return err
	},
	"buid": func(ctx context.Context, c *Client) error {
		_, err := c.BUID(ctx)
		return err
	},
	"read record": func(ctx context.Context, c *Client) error {
		_, err := c.ReadPairRecord(ctx,
			"x")
		return err
	},
	"save record": func(ctx context.Context, c *Client) error {
		return c.SavePairRecord(ctx, "x",
			3, []byte("x"))
	},
	"delete record": func(ctx context.Context, c *Client) error {
		return c.DeletePairRecord(ctx,
			"x")
	},
	"list listeners": func(ctx context.Context, c *Client) error {
		_, err := c.ListListeners(ctx)
		return err
	},
	"listen": func(ctx context.Context, c *Client) error { _, err := c.Listen(ctx); return err },
}

func TestClientAgainstBadAnswers(t *testing.T) {
	t.Parallel()
	dict := func(d plist.Dict) string { return string(plistBytes(1, d)) }
	answers := map[string]string{
		"nothing":           "",
		"half a header":     realBinary[:7],
		"half a body":       realEmpty[:100],
		"length 2":          "\x02\x00\x00\x00" + realBinary[4:],
		"length over limit": "\xff\xff\xff\xff" + realBinary[4:],
		"junk property list": string(
			appendFrame(nil, frame{version: 1, message: 8, body: []byte("junk")}),
		),
		"an array": string(appendFrame(nil,
			frame{version: 1, message: 8, body: []byte("<plist><array/></plist>")})),
		"refused in XML":        realRefuse[:12] + "\x01" + realRefuse[13:],
		"refused in binary":     realBinary,
		"short binary result":   string(binaryBytes(msgResult, 1, 0)),
		"message 99":            string(binaryBytes(99, 1)),
		"result without number": dict(plist.Dict{"MessageType": "Result"}),
		"another dictionary":    dict(plist.Dict{"Colour": "red"}),
		"another tag":           string(appendFrame(nil, resultFrame(1, requestTag+1, OK))),
		"tag of an event":       string(appendFrame(nil, resultFrame(1, 0, OK))),
		"a refusal to another":  string(appendFrame(nil, resultFrame(1, requestTag+1, BadDevice))),
		"number out of range":   dict(plist.Dict{"MessageType": "Result", "Number": int64(-1)}),
		"wrong types": dict(plist.Dict{
			"DeviceList": "x", "BUID": int64(1), "PairRecordData": "x", "ListenerList": true,
		}),
	}
	for name, answer := range answers {
		for op, call := range calls {
			t.Run(op+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					err := call(context.Background(),
						newClient(t, Options{Dial: scripted(answer, false)}))
					var e *Error
					if !errors.As(err, &e) {
						t.Fatalf("error %v (%T), want an *Error", err, err)
					}
					if name == "nothing" && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("%v, want unexpected EOF", err)
					}
					ended := name == "nothing" || strings.HasPrefix(name, "half") ||
						strings.HasPrefix(name, "refused")
					malformed := errors.Is(err, link.ErrProtocol) ||
						errors.As(err, new(*plist.Error))
					if malformed == ended {
						t.Errorf("%v: malformed = %v, want %v", err, malformed, !ended)
					}
					if name == "refused in binary" && !errors.Is(err, BadVersion) {
						t.Errorf("%v, want bad version", err)
					}
				})
			})
		}
	}
	// A request that asks for no values may be answered with OK alone.
	ok := string(appendFrame(nil, resultFrame(1, 1, OK)))
	for op, call := range calls {
		err := call(testContext(t), newClient(t, Options{Dial: scripted(ok, false)}))
		wantOK := map[string]bool{
			"connect": true, "save record": true, "delete record": true, "listen": true,
		}[op]
		if wantOK != (err == nil) {
			t.Errorf("%s answered with OK alone: %v", op, err)
		}
	}
}

// Every call must end with its context, by deadline or cancellation, and leave nothing
// behind.
func TestClientContexts(t *testing.T) {
	t.Parallel()
	for op, call := range calls {
		for _, dialHangs := range []bool{false, true} {
			t.Run(op, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					dial := scripted("", true)
					if dialHangs {
						dial = func(ctx context.Context) (net.Conn, error) {
							<-ctx.Done()
							return nil, ctx.Err()
						}
					}
					c := newClient(t, Options{Dial: dial})
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					if err := call(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("by its deadline: %v", err)
					}
					ctx, cancel = context.WithCancel(context.Background())
					go cancel()
					if err := call(ctx, c); !errors.Is(err, context.Canceled) {
						t.Errorf("by cancel: %v", err)
					}
				})
			})
		}
	}
}

func TestClientWithoutMultiplexer(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{Address: filepath.Join(t.TempDir(), "none")})
	if _, err := c.List(testContext(t)); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("List = %v, want no such file", err)
	}
	if c.Address() == "" {
		t.Error("no address")
	}
}

// The first bytes of the device may arrive in the segment of the Result.
func TestConnectKeepsBytesBehindResult(t *testing.T) {
	t.Parallel()
	ok := string(appendFrame(nil, resultFrame(1, 1, OK)))
	c := newClient(t, Options{Dial: scripted(ok+"hello from the device", false)})
	conn, err := c.Connect(testContext(t), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantRest(t, conn, "hello from the device")
}

// The context bounds the call, not the connection after it.
func TestConnectOutlivesItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMuxer(t, MuxerOptions{})
		id := m.Attach(Attachment{UDID: testUDID, Open: openEcho})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := newClient(t, Options{Dial: pipeTo(m)}).Connect(ctx, id, echoPort)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		io.WriteString(conn, "late")
		link.CloseWrite(conn)
		wantRest(t, conn, "LATE")
	})
}

// A bad entry must not hide the other devices.
func TestListPassesOverBadEntries(t *testing.T) {
	t.Parallel()
	good := encodeEntry(newEntry(Attachment{UDID: testUDID}, 4))
	nameless := encodeEntry(newEntry(Attachment{}, 5))
	answer := plistBytes(requestTag,
		plist.Dict{"DeviceList": []any{"x", plist.Dict{}, nameless, good}})
	list, err := newClient(t, Options{Dial: scripted(string(answer), false)}).List(testContext(t))
	if err != nil {
		t.Errorf("List: %v", err)
	}
	if len(list) != 1 || list[0].UDID != testUDID {
		t.Errorf("List = %+v, want %s alone", list, testUDID)
	}
}

// Malformed events, and events about unknown devices, must not hide the other devices
// or make the Watcher connect again.
func TestListenerPassesOverBadEvents(t *testing.T) {
	t.Parallel()
	event := func(d plist.Dict) []byte { return plistBytes(0, d) }
	bad := map[string][]byte{
		"detached of an unknown device": event(
			plist.Dict{"MessageType": "Detached", "DeviceID": int64(9)},
		),
		"paired of an unknown device": event(
			plist.Dict{"MessageType": "Paired", "DeviceID": int64(9)},
		),
		"detached without an id": event(plist.Dict{"MessageType": "Detached"}),
		"an id of 33 bits": event(
			plist.Dict{"MessageType": "Detached", "DeviceID": int64(1<<32 + 1)},
		),
		"binary detach":       binaryBytes(msgDeviceRemove, 0, 9, 0, 0, 0),
		"short binary detach": binaryBytes(msgDeviceRemove, 0, 9),
		"empty serial":        event(encodeEntry(newEntry(Attachment{}, 9))),
		"empty binary serial": binaryBytes(msgDeviceAdd, 0, make([]byte, deviceAddSize)...),
		"attached without properties": event(
			plist.Dict{"MessageType": "Attached", "DeviceID": int64(9)},
		),
		"no property list": appendFrame(nil,
			frame{version: 1, message: msgPlist, body: []byte("junk")}),
		"another result": appendFrame(nil, resultFrame(1, requestTag, OK)),
	}
	for name, bytes := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := mustEncode(versionPlist,
				Event{Attached, newEntry(Attachment{UDID: testUDID}, 1)})
			gone := mustEncode(versionPlist, Event{Detached, Entry{DeviceID: 1}})
			answer := slices.Concat(appendFrame(nil, resultFrame(1, requestTag, OK)), good, bytes,
				bytes, gone)
			w := newClient(t, Options{Dial: scripted(string(answer), true)}).Watch()
			defer w.Close()
			for _, want := range []EventKind{Attached, Detached} {
				wantNext(t, w, want, 1, testUDID)
			}
		})
	}
}

// A multiplexer that attaches devices without end must fill a bounded table only, and
// nothing before its result.
func TestListenerFloods(t *testing.T) {
	t.Parallel()
	var flood []byte
	for id := range uint32(maxKnown + 10) {
		flood = append(flood, appendFrame(nil, frame{
			message: msgDeviceAdd, body: appendDeviceAdd(nil, Entry{DeviceID: id + 1, UDID: "x"}),
		})...)
	}
	ok := appendFrame(nil, resultFrame(1, requestTag, OK))
	gone := mustEncode(versionPlist, Event{Detached, Entry{DeviceID: 1}})
	l, err := newClient(t, Options{
		Dial: scripted(string(slices.Concat(ok, flood, gone)), false),
	}).Listen(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range maxKnown {
		next(t, l)
	}
	wantNext(t, l, Detached, 1, "x")
	_, err = newClient(t, Options{Dial: scripted(string(flood), true)}).Listen(testContext(t))
	if !errors.Is(err, link.ErrProtocol) {
		t.Errorf("a flood before the result: %v", err)
	}
}

// A Next that timed out in the middle of a frame must lose no bytes.
func TestListenerResumesInsideFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		here, there := linktest.Pipe()
		defer there.Close()
		c := newClient(t,
			Options{Dial: func(context.Context) (net.Conn, error) { return here, nil }})
		// An event in front of the result, as a daemon with threads may send it.
		early := mustEncode(versionPlist, Event{Attached, newEntry(Attachment{UDID: "early"}, 1)})
		there.Write(append(early, appendFrame(nil, resultFrame(1, 1, OK))...))
		l, err := c.Listen(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if ev := next(t, l); ev.Entry.UDID != "early" {
			t.Errorf("first event %+v", ev)
		}
		event := mustEncode(versionPlist, Event{Attached, newEntry(Attachment{UDID: testUDID}, 2)})
		for _, part := range [][]byte{event[:7], event[7:100]} {
			there.Write(part)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if _, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Next = %v, want a time-out", err)
			}
			cancel()
		}
		there.Write(event[100:])
		wantNext(t, l, Attached, 2, testUDID)
		there.Write(event[:30])
		there.Close()
		if _, err := l.Next(context.Background()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut inside a frame: %v", err)
		}
	})
}

func TestListenerCloseEndsNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMuxer(t, MuxerOptions{})
		l, err := newClient(t, Options{Dial: pipeTo(m)}).Listen(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() { _, err := l.Next(context.Background()); got <- err }()
		synctest.Wait()
		l.Close()
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next = %v, want closed", err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

// A Watcher must survive its multiplexer: it reports the devices as gone, connects
// again after a second and reports the devices that are there.
func TestWatcherReconnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		var m *Muxer // nil = not running
		dials := 0
		dial := func(ctx context.Context) (net.Conn, error) {
			dials++
			if m == nil {
				return nil, syscall.ECONNREFUSED
			}
			return pipeTo(m)(ctx)
		}
		m = NewMuxer(MuxerOptions{})
		m.Attach(Attachment{UDID: "one"})
		m.Attach(Attachment{UDID: "two"})
		w := newClient(t, Options{Dial: dial}).Watch()
		wantNext(t, w, Attached, 1, "one")
		wantNext(t, w, Attached, 2, "two")
		old := m
		m = nil
		old.Close()
		wantNext(t, w, Detached, 1, "one")
		wantNext(t, w, Detached, 2, "two")
		timeout, cancel := context.WithTimeout(ctx, 10*time.Second+time.Millisecond)
		_, err := w.Next(timeout)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a multiplexer Next = %v, want the time-out", err)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("without a multiplexer Next = %v, want the reason too", err)
		}
		if dials != 11 {
			t.Errorf("%d dials, want the first and one a second for 10 seconds", dials)
		}
		m = NewMuxer(MuxerOptions{})
		m.Attach(Attachment{UDID: "two"})
		wantNext(t, w, Attached, 1, "two")
		m.Detach(1)
		wantNext(t, w, Detached, 1, "two")
		w.Close()
		m.Close()
	})
}

func TestWatcherCloseEndsNext(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"connected": true, "waiting to reconnect": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMuxer(t, MuxerOptions{})
				if !running {
					m.Close()
				}
				w := newClient(t, Options{Dial: pipeTo(m)}).Watch()
				got := make(chan error)
				go func() { _, err := w.Next(context.Background()); got <- err }()
				synctest.Wait()
				w.Close()
				if err := <-got; !errors.Is(err, net.ErrClosed) {
					t.Errorf("Next = %v, want closed", err)
				}
				if err := w.Close(); err != nil {
					t.Errorf("second Close = %v", err)
				}
				if _, err := w.Next(context.Background()); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Next after Close = %v", err)
				}
			})
		})
	}
}
