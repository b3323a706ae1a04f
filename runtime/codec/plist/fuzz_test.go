package plist

import (
	"bytes"
	"encoding/xml"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
)

func FuzzDecode(f *testing.F) {
	f.Add(fixture(f, "usbmuxresponse.plist"))
	f.Add(fixture(f, "sample-plist-plistcodec-basebandkeyhashinfotype.plist")[4:])
	for _, b := range cases(f) {
		f.Add(b)
	}
	small := Dict{"a": []any{
		int64(1), 1.5, true, "x", "ü", []byte{1}, UID(3), time.Unix(0, 0).UTC(),
		uint64(math.MaxUint64),
	}, "b": Dict{"c": "x"}}
	f.Add(mustEncode(f, small, XML))
	f.Add(mustEncode(f, small, Binary))
	f.Add(mustEncode(f, everything(), Binary)[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		var err error
		fuzztest.Bounded(t, len(b), func() { v, err = Decode(b) })
		if fuzztest.Typed[*Error](t, "Decode", err); err != nil {
			return
		}
		again, err := Encode(v, Binary)
		if err != nil {
			t.Fatalf("Encode(%#v) = %v", v, err)
		}
		got, err := Decode(again)
		if err != nil {
			t.Fatalf("Decode(Encode(%#v)) = %v", v, err)
		}
		if third := mustEncode(t, got, Binary); !bytes.Equal(third, again) {
			t.Fatalf("%#v does not survive: %#v", v, got)
		}
		if x, err := Encode(v, XML); err == nil {
			if _, err := Decode(x); err != nil {
				t.Fatalf("Decode(%q) = %v", x, err)
			}
		}
		var s outer
		Unmarshal(b, &s)
	})
}

// What the check lets through nests no deeper for the parser behind it, and is
// no other elements.
func FuzzCheckXML(f *testing.F) {
	f.Add([]byte(
		"<?xml version='1.0'?><!DOCTYPE plist PUBLIC \"a>\" 'b'><plist a='>'><array x='/>'><!-- <array> --><dict><key>a</key><true/></dict></array></plist>",
	))
	f.Add(
		[]byte("<plist><array><![CDATA[<array>]]]]><?x <array> ?><integer> 5\n</integer ></array>"),
	)
	f.Add([]byte("<!--><array>--><array><array><!---><array>--></array>"))
	f.Add([]byte("<plist><string>a<!-- <b>--><![CDATA[</string>]]>&lt;</string></plist>"))
	f.Add([]byte(strings.Repeat("<array a='\"'>", 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		b, err := checkXML(b)
		if err != nil {
			return
		}
		d := xml.NewDecoder(bytes.NewReader(b))
		depth, containers, text, values := 0, 0, false, 0
		for values == 0 || depth > 0 || text {
			token, err := d.Token()
			if err != nil {
				return
			}
			switch token := token.(type) {
			case xml.StartElement:
				name := token.Name.Local
				if text {
					t.Fatalf("%q: an element <%s> after text is accepted", b, name)
				}
				if name == "plist" && (values > 0 || depth > 0) {
					t.Fatalf("%q: an element <plist> inside of another value is accepted", b)
				}
				switch name {
				case "dict", "array":
					depth++
					containers++
					values++
				case "plist":
				case "key":
					text = true
				default:
					text = true
					values++
				}
				if depth > MaxDepth+1 {
					t.Fatalf("%q: the depth %d is accepted", b, depth)
				}
				if containers > spareContainers+len(b)/bytesPerContainer {
					t.Fatalf("%q: %d containers are accepted", b, containers)
				}
			case xml.EndElement:
				if text {
					text = false
				} else {
					depth--
				}
			}
		}
	})
}

// benchValue is a list of applications.
func benchValue() Dict {
	list := []any{}
	for i := range 300 {
		list = append(list, Dict{
			"CFBundleIdentifier": "com.example.app" + strconv.Itoa(i), "CFBundleVersion": "1.0",
			"Size": int64(i), "Signed": true, "Entitlements": Dict{"get-task-allow": false},
		})
	}
	return Dict{"Status": "Complete", "CurrentList": list}
}

// benchValues is what lockdown answers to a GetValue without a key, in part.
func benchValues() Dict {
	d := Dict{
		"DeviceName": "iPhone", "ProductType": "iPhone14,5", "ProductVersion": "17.4.1",
		"UniqueDeviceID": strings.Repeat("0a", 20), "UniqueChipID": int64(5012903521689630),
		"DevicePublicKey": bytes.Repeat([]byte("key "), 90), "ActivationState": "Activated",
		"PasswordProtected": true, "TimeIntervalSince1970": 1712000000.25,
		"SupportedDeviceFamilies": []any{int64(1)},
		"NonVolatileRAM":          Dict{"auto-boot": []byte("true"), "boot-args": []byte{}},
		"Uses24HourClock":         false,
	}
	for i := range 50 {
		d["Key"+strconv.Itoa(i)] = "value of some length " + strconv.Itoa(i)
	}
	return d
}

func BenchmarkPlist(b *testing.B) {
	for name, v := range map[string]Dict{"apps": benchValue(), "values": benchValues()} {
		for form, f := range map[string]Format{"XML": XML, "binary": Binary} {
			enc := mustEncode(b, v, f)
			b.Run(name+"/encode "+form, func(b *testing.B) {
				b.SetBytes(int64(len(enc)))
				b.ReportAllocs()
				for b.Loop() {
					mustEncode(b, v, f)
				}
			})
			b.Run(name+"/decode "+form, func(b *testing.B) {
				b.SetBytes(int64(len(enc)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Decode(enc); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
