package device

import "testing"

func TestSelector(t *testing.T) {
	phone := Info{
		UDID: "00008120-000A1B2C3D4E5F60", Name: "Ana's iPhone", ProductType: "iPhone15,2",
		Version: "17.5.1", WiFiAddress: "5c:52:84:0a:1b:2c",
		Routes: []Route{{Kind: "usb"}, {Kind: "wifi"}},
	}
	silent := Info{UDID: "x", Routes: []Route{{Kind: "wifi"}}}
	for _, c := range []struct {
		name string
		s    Selector
		in   Info
		want bool
	}{
		{"nothing asked", Selector{}, phone, true},
		{"udid", Selector{UDID: "00008120-000A1B2C3D4E5F60"}, phone, true},
		{"udid without dash, lower case", Selector{UDID: "00008120000a1b2c3d4e5f60"}, phone, true},
		{"other udid", Selector{UDID: "00008120-000A1B2C3D4E5F61"}, phone, false},
		{"name", Selector{Name: "Ana's iPhone"}, phone, true},
		{"name pattern", Selector{Name: "Ana*"}, phone, true},
		{"one of two patterns", Selector{Name: "Bob*, *iPhone"}, phone, true},
		{"other name", Selector{Name: "Bob*"}, phone, false},
		{"model with its comma", Selector{Model: "iPhone15,2"}, phone, true},
		{"model pattern", Selector{Model: "iPhone15,*"}, phone, true},
		{"other model", Selector{Model: "iPad*"}, phone, false},
		{"at least", Selector{OS: ">=17.0"}, phone, true},
		{"range", Selector{OS: ">=16, <18"}, phone, true},
		{"below", Selector{OS: "<17.5.1"}, phone, false},
		{"numbers, not text", Selector{OS: ">9"}, phone, true},
		{"bare version takes its patches", Selector{OS: "17.5"}, phone, true},
		{"bare version is not a prefix of digits", Selector{OS: "1"}, phone, false},
		{"exact", Selector{OS: "=17.5"}, phone, false},
		{"any route", Selector{Transport: "wifi"}, phone, true},
		{"no such route", Selector{Transport: "usb"}, silent, false},
		{"silent device has no version", Selector{OS: ">=1"}, silent, false},
		{"Wi-Fi address", Selector{UDID: "5C:52:84:0A:1B:2C"}, phone, true},
		{"other Wi-Fi address", Selector{UDID: "5c:52:84:0a:1b:2d"}, phone, false},
		{"Wi-Fi address of a silent device", Selector{UDID: "5c:52:84:0a:1b:2c"}, silent, false},
		{"predicate", Selector{Match: func(i Info) bool { return i.Name == "" }}, silent, true},
	} {
		if got := c.s.Matches(c.in); got != c.want {
			t.Errorf("%s: matches = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSelectorCheck(t *testing.T) {
	for _, s := range []Selector{
		{OS: "new"}, {OS: ">="}, {OS: ">=17,"}, {Name: "[a"}, {Model: "["},
	} {
		if s.Check() == nil {
			t.Errorf("%+v passed the check", s)
		}
	}
	if err := (Selector{
		OS: ">=17.0,<18", Name: "Ana's [iI]Phone", Model: "iPhone1?,*",
	}).Check(); err != nil {
		t.Error(err)
	}
}
