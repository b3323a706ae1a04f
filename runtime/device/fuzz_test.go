package device

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// peer returns a dialer of connections on which b is sent, whatever is asked.
func peer(b []byte) func(context.Context, uint16) (net.Conn, error) {
	return func(context.Context, uint16) (net.Conn, error) {
		here, there := link.Pipe()
		go fuzztest.Say(there, b)
		return here, nil
	}
}

func mustEncode(f *testing.F, d plist.Dict) []byte {
	f.Helper()
	b, err := plist.Encode(d, plist.XML)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// lockdownAnswers returns the answers of a device to a host that is not paired.
func lockdownAnswers(f *testing.F) []byte {
	value := plist.Dict{
		"DeviceName":     "x",
		"ProductType":    "iPhone15,2",
		"ProductVersion": "17.4",
		"BuildVersion":   "21E1",
		"UniqueDeviceID": "00008120-000A",
	}
	return slices.Concat(
		link.AppendFrame(
			nil,
			mustEncode(f, plist.Dict{"Request": "QueryType", "Type": "com.apple.mobile.lockdown"}),
		),
		link.AppendFrame(nil, mustEncode(f, plist.Dict{"Request": "GetValue", "Value": value})),
	)
}

// FuzzIdentify answers the identification of each kind of route with any bytes. The
// result must be a description that names a device, or an error.
func FuzzIdentify(f *testing.F) {
	answers := lockdownAnswers(f)
	f.Add(answers)
	f.Add(answers[:40])
	f.Add(
		link.AppendFrame(
			nil,
			mustEncode(
				f,
				plist.Dict{"Request": "GetValue", "Value": plist.Dict{"UniqueDeviceID": int64(1)}},
			),
		),
	)
	list, err := xpc.Append(
		nil,
		&xpc.Message{
			Flags: xpc.FlagsOneWay,
			Body:  xpc.Dict{{Key: "MessageType", Value: "Handshake"}},
		},
	)
	if err != nil {
		f.Fatal(err)
	}
	// Settings, a message on stream 1, as remoted begins.
	f.Add(
		slices.Concat(
			[]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x00\x01"),
			[]byte{0, 0, byte(len(list)), 0, 0, 0, 0, 0, 1},
			list,
		),
	)
	f.Add([]byte("RPPairing\x00\x02{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := fuzztest.Context(t)
		for _, via := range []Via{ViaLockdown, ViaRemoted, ViaPairing} {
			finder := NewFinder(Options{NoAutoPair: true})
			route := Route{Kind: "wifi", Via: via, Address: "x", port: 1, dial: peer(b)}
			info, err := finder.askRoute(ctx, route)
			finder.Close()
			if ctx.Err() != nil {
				t.Fatalf("%s does not end: %v", via, err)
			}
			if err != nil && info.UDID != "" {
				t.Errorf("%s: UDID %q and %v", via, info.UDID, err)
			}
			if err != nil && info.Name != "" {
				t.Errorf("%s: name %q and %v", via, info.Name, err)
			}
		}
	})
}

// FuzzMuxer gives a Finder any list of a muxer, and any bytes of its devices.
func FuzzMuxer(f *testing.F) {
	list := mustEncode(
		f,
		plist.Dict{"DeviceList": []any{plist.Dict{"DeviceID": int64(3), "MessageType": "Attached",
			"Properties": plist.Dict{"SerialNumber": "00008120-000A", "ConnectionType": "USB"}}}},
	)
	f.Add(list, lockdownAnswers(f))
	f.Add(list, []byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Add(mustEncode(f, plist.Dict{"DeviceList": []any{true, plist.Dict{}}}), []byte{})
	f.Fuzz(func(t *testing.T, list, device []byte) {
		ctx := fuzztest.Context(t)
		mux, err := usbmux.New(usbmux.Options{Dial: func(context.Context) (net.Conn, error) {
			here, there := link.Pipe()
			go func() {
				defer there.Close()
				answerMuxer(there, list, device)
			}()
			return here, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		finder := NewFinder(Options{Muxers: []*usbmux.Client{mux}, NoAutoPair: true})
		defer finder.Close()
		infos, err := finder.List(ctx, Selector{})
		var refused *usbmux.Error
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("List: %v (%T)", err, err)
		}
		for _, i := range infos {
			if i.UDID == "" {
				t.Errorf("a device without a UDID: %+v", i)
			}
			if len(i.Routes) == 0 {
				t.Errorf("a device without a route: %+v", i)
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("List does not end: %v", err)
		}
	})
}

// answerMuxer serves one connection of a muxer, with a list or as a pipe to a device.
func answerMuxer(c net.Conn, list, device []byte) {
	frame := func(body []byte) []byte {
		head := []byte{
			byte(16 + len(body)),
			byte((16 + len(body)) >> 8),
			byte((16 + len(body)) >> 16),
			0,
			1,
			0,
			0,
			0,
			8,
			0,
			0,
			0,
			1,
			0,
			0,
			0,
		}
		return append(head, body...)
	}
	var head [16]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	request, err := link.ReadN(c, int(head[0])|int(head[1])<<8-16, nil)
	if err != nil {
		return
	}
	d, _ := plist.DecodeDict(request)
	switch name, _ := d.String("MessageType"); name {
	case "ListDevices":
		_, _ = c.Write(frame(list))
	case "Connect":
		_, _ = c.Write(
			append(
				frame(
					[]byte(
						"<plist><dict><key>MessageType</key><string>Result</string><key>Number</key><integer>0</integer></dict></plist>",
					),
				),
				device...),
		)
	}
	_ = link.CloseWrite(c)
	_, _ = io.Copy(io.Discard, c)
}
