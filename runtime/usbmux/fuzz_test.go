package usbmux

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

// FuzzClient answers each request with any bytes. Each call must end with an *Error or
// a result, and a listener must end when the bytes end.
func FuzzClient(f *testing.F) {
	ok := appendFrame(nil, resultFrame(1, requestTag, OK))
	event := mustEncode(versionPlist, Event{Attached, newEntry(Attachment{UDID: testUDID}, 1)})
	for _, seed := range [][]byte{
		[]byte(realBinary), []byte(realEmpty), []byte(realRefuse), ok,
		slices.Concat(event, ok, event),
		slices.Concat(ok, mustEncode(versionBinary, Event{Attached, Entry{DeviceID: 3, UDID: "x"}}),
			binaryBytes(msgDeviceRemove, 0, 3, 0, 0, 0)),
		plistBytes(1,
			plist.Dict{"DeviceList": []any{encodeEntry(newEntry(Attachment{UDID: testUDID}, 4))}}),
		plistBytes(1, plist.Dict{
			"BUID": "x", "PairRecordData": []byte("x"),
			"ListenerList": []any{plist.Dict{"ProgName": "x"}},
		}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := fuzztest.Context(t)
		c := newClient(t, Options{Dial: scripted(string(b), false)})
		for op, call := range calls {
			fuzztest.Typed[*Error](t, op, call(ctx, c))
		}
		entries, err := c.List(ctx)
		for _, e := range entries {
			if e.UDID == "" {
				t.Errorf("the entry %+v has no UDID", e)
			}
			if e.DeviceID == 0 {
				t.Errorf("the entry %+v has no id", e)
			}
		}
		if err != nil && entries != nil {
			t.Errorf("%d entries and %v", len(entries), err)
		}
		l, err := c.Listen(ctx)
		if err != nil {
			return
		}
		defer l.Close()
		for err == nil {
			var ev Event
			ev, err = l.Next(ctx)
			if err == nil && ev.Entry.UDID == "" {
				t.Errorf("event %+v", ev)
			}
		}
		if ctx.Err() != nil {
			t.Errorf("the listener did not end: %v", err)
		}
	})
}

// FuzzMuxer sends any bytes to the device side, which answers or closes.
func FuzzMuxer(f *testing.F) {
	for _, seed := range [][]byte{
		ask("MessageType", "ListDevices"), ask("MessageType", "ReadBUID"),
		ask("MessageType", "Listen", "ProgName", "x"), ask("MessageType", "ListListeners"),
		ask("MessageType", "Connect", "DeviceID", int64(1), "PortNumber",
			int64(swapPort(echoPort))),
		ask("MessageType", "ReadPairRecord", "PairRecordID", testUDID),
		ask("MessageType", "SavePairRecord", "PairRecordID", "../x", "PairRecordData",
			[]byte("<plist><dict/></plist>")),
		binaryBytes(msgListen, 7), binaryBytes(msgConnect, 7, 1, 0, 0, 0, 0xF2, 0x7E, 0, 0),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := fuzztest.Context(t)
		m := newMuxer(t, MuxerOptions{})
		m.Attach(Attachment{UDID: testUDID, Open: openEcho})
		_ = fuzztest.Device(t, "muxer", link.Pipe, b, func(ctx context.Context, c net.Conn) error {
			m.ServeConn(ctx, c)
			return nil
		})
		// The bytes of one client must not make the lists of others invalid.
		c := newClient(t, Options{Dial: pipeTo(m)})
		list, err := c.List(ctx)
		if err != nil {
			t.Errorf("List: %v", err)
		}
		if len(list) != 1 {
			t.Errorf("List = %v, want one device", list)
		}
		if _, err := c.ListListeners(ctx); err != nil {
			t.Error(err)
		}
	})
}
