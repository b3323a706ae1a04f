package lockdown

import (
	"context"
	"errors"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// FuzzDevice sends any bytes to the daemon, which must answer or close the connection.
func FuzzDevice(f *testing.F) {
	for _, d := range []plist.Dict{
		{"Request": "QueryType"}, {"Request": "GetValue", "Key": "\x01"},
		{"Request": "StartSession", "HostID": hostID}, {"Request": "Goodbye"},
	} {
		b, err := plist.Encode(d, plist.Binary)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(link.AppendFrame(nil, b), link.AppendFrame(nil, b)...))
	}
	f.Add([]byte{0x16, 3, 1, 0, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Typed[*Error](t, "Serve",
			fuzztest.Device(t, "lockdown", link.Pipe, b,
				never(phonetest.New(t, phone.Options{})).Serve))
	})
}

// FuzzRequest sends any property list to the daemon, with and without the rights of a
// session. Each must get an answer with the echoed keys that can be encoded.
func FuzzRequest(f *testing.F) {
	for _, d := range []plist.Dict{
		{"Request": "QueryType"},
		{"Request": "GetValue", "Domain": "com.apple.disk_usage", "Key": "NANDInfo"},
		{"Request": "SetValue", "Key": "DeviceName", "Value": []any{plist.Dict{"a": 1.5}}},
		{"Request": "StartSession", "HostID": hostID},
		{"Request": "Pair", "PairRecord": plist.Dict{
			"HostID": "x", "SystemBUID": "y", "HostCertificate": []byte("-----BEGIN"),
		}},
		{"Request": "StartService", "Service": "com.apple.afc", "EscrowBag": []byte("x")},
		{"Request": int64(1), "Key": true},
	} {
		for _, form := range []plist.Format{plist.XML, plist.Binary} {
			b, err := plist.Encode(d, form)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	control, err := plist.Encode(
		plist.Dict{"Request": "GetValue", "Domain": "\x14", "Key": "a\x00b"}, plist.Binary,
	)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(control)
	p := phonetest.New(f, phone.Options{})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := plist.DecodeDict(b)
		if err != nil {
			return
		}
		for _, trusted := range []bool{false, true} {
			dev := never(p)
			dev.Trusted = trusted
			s := &deviceConn{Device: dev, log: New(nil, Options{}).log}
			r, code := parseRequest(d)
			reply, err := s.answer(context.Background(), &r, code)
			if err != nil {
				t.Fatalf("%v: %v", d, err)
			}
			if name, _ := d.String("Request"); name != "" && reply["Request"] != name {
				t.Errorf("%v: no echo in %v", d, reply)
			}
			if _, refused := reply["Error"]; refused && reply["Value"] != nil {
				t.Errorf("%v: refusal with a value: %v", d, reply)
			}
			if got := send(t, reply); got["Request"] != reply["Request"] {
				t.Errorf("%v: the request of the answer %v arrives as %v", d, reply, got["Request"])
			} else if len(got) != len(reply) {
				t.Errorf("%v: the answer %v arrives as %v", d, reply, got)
			}
		}
	})
}

// send returns a reply as it arrives.
func send(t *testing.T, reply plist.Dict) plist.Dict {
	a, b := linktest.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		if err := link.NewPlistConn(a).Send(context.Background(), reply); err != nil {
			t.Errorf("answer %v: %v", reply, err)
		}
		a.Close()
	}()
	got, err := link.NewPlistConn(b).RecvDict(context.Background())
	if err != nil {
		t.Errorf("answer %v: %v", reply, err)
	}
	return got
}

// FuzzReply answers the client with any bytes. Each call must end with a typed error or
// a value.
func FuzzReply(f *testing.F) {
	for _, d := range []plist.Dict{
		{"Request": "GetValue", "Value": int64(5)},
		{"Request": "GetValue", "Error": "MissingValue", "ErrorDescription": "x"},
		{"Request": "GetValue", "Error": int64(3), "ErrorString": "y"},
		{"Request": "StartService", "Port": int64(49231)},
	} {
		b, err := plist.Encode(d, plist.XML)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(link.AppendFrame(nil, b))
	}
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, dev := link.Pipe()
		defer dev.Close()
		cl := New(a, Options{})
		defer cl.Close()
		if _, err := dev.Write(b[:min(len(b), 64<<10)]); err != nil {
			t.Fatal(err)
		}
		link.CloseWrite(dev)
		v, err := cl.Get(context.Background(), "d", "k")
		var e *Error
		if err == nil && v == nil {
			t.Error("Get returns neither a value nor an error")
		}
		if err != nil && v != nil {
			t.Errorf("Get returns %v with its error %v", v, err)
		}
		if err != nil && !errors.As(err, &e) {
			t.Errorf("Get = %v, want an Error", err)
		}
		if _, err := cl.StartService(context.Background(), "s", nil); err == nil {
			return
		} else if !errors.As(err, &e) {
			t.Errorf("StartService = %v", err)
		}
	})
}
