package usbmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

func next(t *testing.T, n interface {
	Next(context.Context) (Event, error)
}) Event {
	t.Helper()
	ev, err := n.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// wantNext checks the next event.
func wantNext(t *testing.T, n interface {
	Next(context.Context) (Event, error)
}, kind EventKind, id uint32, udid string) {
	t.Helper()
	want := fmt.Sprintf("%v of %d %q", kind, id, udid)
	ev := next(t, n)
	if got := fmt.Sprintf("%v of %d %q", ev.Kind, ev.Entry.DeviceID, ev.Entry.UDID); got != want {
		t.Errorf("the event is %s, want %s", got, want)
	}
}

// wantListeners checks what ListListeners returns.
func wantListeners(t *testing.T, c *Client, want ...ListenerInfo) {
	t.Helper()
	infos, err := c.ListListeners(testContext(t))
	if err != nil {
		t.Errorf("ListListeners: %v", err)
	}
	if !reflect.DeepEqual(infos, want) {
		t.Errorf("ListListeners = %+v, want %+v", infos, want)
	}
}

func TestListeners(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	ctx := testContext(t)
	first := m.Attach(Attachment{UDID: testUDID})
	var listeners []*Listener
	var clients []*Client
	for _, name := range []string{"one", ""} {
		c := newClient(t, Options{Dial: pipeTo(m), Program: name})
		l, err := c.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners, clients = append(listeners, l), append(clients, c)
	}
	wantListeners(t, clients[0],
		ListenerInfo{ID: "1-one", Program: "one", Version: 3},
		ListenerInfo{ID: "2-imdlua", Program: "imdlua", Version: 3})
	second := m.Attach(Attachment{UDID: "second"})
	if err := clients[0].SavePairRecord(ctx, "second", second,
		[]byte("<plist><dict/></plist>")); err != nil {
		t.Fatal(err)
	}
	// Neither of these concerns a present device.
	clients[0].SavePairRecord(ctx, "third", second, []byte("<plist><dict/></plist>"))
	clients[0].SavePairRecord(ctx, "second", 99, []byte("<plist><dict/></plist>"))
	m.Detach(first)
	m.Detach(first)
	third := m.Attach(Attachment{UDID: testUDID})
	if third <= second {
		t.Errorf("device id %d after %d: ids are used again", third, second)
	}
	for _, l := range listeners {
		for _, want := range []struct {
			kind EventKind
			id   uint32
			udid string
		}{
			{Attached, first, testUDID}, {Attached, second, "second"}, {Paired, second, "second"},
			{Detached, first, testUDID}, {Attached, third, testUDID},
		} {
			wantNext(t, l, want.kind, want.id, want.udid)
		}
	}
}

// A request on a listening connection must be answered with an error and end it.
func TestRequestWhileListening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMuxer(t, MuxerOptions{})
		conn, _ := pipeTo(m)(nil)
		defer conn.Close()
		conn.Write(append(ask("MessageType", "Listen"),
			plistBytes(6, plist.Dict{"MessageType": "ReadBUID"})...))
		wantResult(t, mustReadFrame(t, conn), 5, OK)
		wantResult(t, mustReadFrame(t, conn), 6, BadCommand)
		if _, err := readFrame(conn, maxReply); err != io.EOF {
			t.Errorf("afterwards %v, want EOF", err)
		}
		if infos := m.listeners(); len(infos) != 0 {
			t.Errorf("still listed: %v", infos)
		}
	})
}

// A listener that does not read must be disconnected. The others must get every event,
// and Attach must never wait.
func TestSlowListener(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMuxer(t, MuxerOptions{})
		c := newClient(t, Options{Dial: pipeTo(m)})
		ctx := context.Background()
		slow, err := c.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		good, err := c.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer good.Close()
		const events = 4 * eventQueue
		for i := range events {
			m.Attach(Attachment{UDID: fmt.Sprint(i)})
			ev, err := good.Next(ctx)
			if err != nil {
				t.Fatalf("event %d: %v", i, err)
			}
			if ev.Entry.UDID != fmt.Sprint(i) {
				t.Fatalf("event %d is of %q", i, ev.Entry.UDID)
			}
		}
		synctest.Wait()
		if n := len(m.listeners()); n != 1 {
			t.Errorf("%d listeners left, want 1", n)
		}
		n := 0
		for ; ; n++ {
			_, err = slow.Next(ctx)
			if err != nil {
				break
			}
		}
		if n == events {
			t.Errorf("the slow listener got all %d events", n)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the slow listener ends with %v, want EOF", err)
		}
	})
}

// A name that XML cannot represent must not make the list invalid for other programs.
func TestListenerWithControlCharacters(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	body, err := plist.Encode(
		plist.Dict{"MessageType": "Listen", "ProgName": "a\x01b", "BundleID": "\uffff"},
		plist.Binary,
	)
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := pipeTo(m)(nil)
	defer conn.Close()
	conn.Write(
		appendFrame(nil, frame{version: versionPlist, message: msgPlist, tag: 1, body: body}),
	)
	if _, err := readFrame(conn, maxReply); err != nil {
		t.Fatal(err)
	}
	wantListeners(t, newClient(t, Options{Dial: pipeTo(m)}),
		ListenerInfo{ID: "1-a\uFFFDb", Program: "a\uFFFDb", BundleID: "\uFFFD"})
}

// odd returns an event frame with this body.
func odd(body []byte) frame { return frame{version: versionPlist, message: msgPlist, body: body} }

func oddPlist(t testing.TB, v plist.Dict) frame {
	t.Helper()
	f, err := plistFrame(0, v)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// speaker dials a multiplexer that answers with these frames and closes the connection.
func speaker(frames ...frame) link.DialFunc {
	return func(context.Context) (net.Conn, error) {
		here, there := linktest.Pipe()
		go func() {
			_, _ = readFrame(there, maxReply)
			for _, f := range frames {
				if _, err := there.Write(appendFrame(nil, f)); err != nil {
					return
				}
			}
			_ = link.CloseWrite(there)
		}()
		return here, nil
	}
}

func attached(t testing.TB, id uint32) frame {
	t.Helper()
	f, err := eventFrame(versionPlist, Event{Attached, Entry{
		DeviceID: id, Properties: plist.Dict{"SerialNumber": fmt.Sprint(id), "DeviceID": int64(id)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBadEvents sends a valid event, an invalid one, another valid event and the end.
// Both valid events must arrive.
func TestBadEvents(t *testing.T) {
	t.Parallel()
	properties := plist.Dict{"SerialNumber": "x", "DeviceID": int64(5)}
	for name, bad := range map[string]frame{
		"no plist": odd([]byte("hi")),
		"empty":    odd(nil),
		"list":     odd([]byte("<plist><array/></plist>")),
		"no properties": oddPlist(t,
			plist.Dict{"MessageType": "Attached", "DeviceID": int64(5)}),
		"no id": oddPlist(t,
			plist.Dict{"MessageType": "Attached", "Properties": plist.Dict{}}),
		"wrong types": oddPlist(t,
			plist.Dict{"MessageType": "Attached", "DeviceID": "5", "Properties": "x"}),
		"detached nothing": oddPlist(t, plist.Dict{"MessageType": "Detached"}),
		"paired nothing": oddPlist(t,
			plist.Dict{"MessageType": "Paired", "DeviceID": int64(0)}),
		"huge": oddPlist(t, plist.Dict{
			"MessageType": "Attached", "DeviceID": int64(5), "Properties": properties,
			"x": make([]byte, 1<<20),
		}),
		"binary, cut short":  {message: msgDeviceAdd, body: []byte{1}},
		"binary, no id":      {message: msgDeviceRemove},
		"result of an error": resultFrame(versionPlist, 0, BadDevice),
	} {
		c := newClient(t, Options{Dial: speaker(resultFrame(versionPlist, requestTag, OK),
			attached(t, 1), bad, attached(t, 2))})
		l, err := c.Listen(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for want := uint32(1); want <= 2; want++ {
			ev, err := l.Next(testContext(t))
			if err != nil {
				t.Errorf("%s: Next: %v", name, err)
			}
			if ev.Entry.DeviceID != want {
				t.Errorf("%s: Next = %+v, want device %d", name, ev, want)
			}
		}
		if _, err := l.Next(testContext(t)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: Next = %v, want io.EOF", name, err)
		}
		want := uint64(1)
		if bad.message == msgPlist && name == "result of an error" {
			want = 0 // a message of another kind, as newer daemons may send
		}
		if n := l.Malformed(); n != want {
			t.Errorf("%s: %d malformed events, want %d", name, n, want)
		}
		l.Close()
	}
}

// TestManyDevices uses a multiplexer that invents devices.
func TestManyDevices(t *testing.T) {
	t.Parallel()
	const known = 100 // TestListenerFloods reaches maxKnown
	frames := []frame{resultFrame(versionPlist, requestTag, OK)}
	for id := range uint32(known + 100) {
		frames = append(frames, attached(t, id+1))
	}
	c := newClient(t, Options{Dial: speaker(frames...)})
	c.known = known
	l, err := c.Listen(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := 0
	for ; err == nil; n++ {
		_, err = l.Next(testContext(t))
	}
	if n-1 != known {
		t.Errorf("%d devices, want %d", n-1, known)
	}
	if len(l.known) != known {
		t.Errorf("%d devices are known, want %d", len(l.known), known)
	}
	if l.Malformed() != 100 {
		t.Errorf("%d events are malformed, want 100", l.Malformed())
	}
	frames = frames[1:] // events alone, no result
	c = newClient(t, Options{Dial: speaker(frames...)})
	c.known = known
	_, err = c.Listen(testContext(t))
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("Listen = %v, want %v", err, ErrTooMany)
	}
}
