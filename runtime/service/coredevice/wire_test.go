package coredevice

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The messages in this file were written by hand from the protocol sheet.
const (
	requestHex = `
		920bb029 01010100 44020000 00000000 01000000 00000000 42371342 05000000 00f00000 34020000 07000000 436f7265
		44657669 63652e43 6f726544 65766963 65444449 50726f74 6f636f6c 56657273 696f6e00 00300000 02000000 00000000
		436f7265 44657669 63652e61 6374696f 6e000000 00f00000 04000000 00000000 436f7265 44657669 63652e63 6f726544
		65766963 65566572 73696f6e 00000000 00f00000 74000000 03000000 636f6d70 6f6e656e 74730000 00e00000 1c000000
		02000000 00400000 75020000 00000000 00400000 03000000 00000000 6f726967 696e616c 436f6d70 6f6e656e 7473436f
		756e7400 00300000 02000000 00000000 73747269 6e675661 6c756500 00900000 06000000 3632392e 33000000 436f7265
		44657669 63652e64 65766963 65496465 6e746966 69657200 00900000 25000000 41374444 32384143 2d323931 312d3435
		34392d38 3131442d 38353931 37423941 43373246 00000000 436f7265 44657669 63652e66 65617475 72654964 656e7469
		66696572 00000000 00900000 2a000000 636f6d2e 6170706c 652e636f 72656465 76696365 2e666561 74757265 2e756e69
		6e737461 6c6c6170 70000000 436f7265 44657669 63652e69 6e707574 00000000 00f00000 34000000 01000000 62756e64
		6c654964 656e7469 66696572 00000000 00900000 11000000 636f6d2e 6578616d 706c652e 73686f70 00000000 436f7265
		44657669 63652e69 6e766f63 6174696f 6e496465 6e746966 69657200 00900000 25000000 36323431 39464331 2d354142
		462d3444 39362d42 4341382d 37413546 36463941 36394545 00000000`
	outputHex = `
		920bb029 01010200 84000000 00000000 01000000 00000000 42371342 05000000 00f00000 74000000 02000000 436f7265
		44657669 63652e6f 75747075 74000000 00f00000 04000000 00000000 436f7265 44657669 63652e69 6e766f63 6174696f
		6e496465 6e746966 69657200 00900000 25000000 36323431 39464331 2d354142 462d3444 39362d42 4341382d 37413546
		36463941 36394545 00000000`
	errorHex = `
		920bb029 01010200 f4000000 00000000 01000000 00000000 42371342 05000000 00f00000 e4000000 02000000 436f7265
		44657669 63652e65 72726f72 00000000 00f00000 98000000 03000000 636f6465 00000000 00300000 02000000 00000000
		646f6d61 696e0000 00900000 17000000 436f7265 44657669 63652e41 6374696f 6e457272 6f720000 75736572 496e666f
		00000000 00f00000 44000000 01000000 4e534c6f 63616c69 7a656444 65736372 69707469 6f6e0000 00900000 1f000000
		41637469 6f6e2027 78272069 73206e6f 7420696d 706c656d 656e7465 642e0000 436f7265 44657669 63652e69 6e766f63
		6174696f 6e496465 6e746966 69657200 00900000 02000000 49000000`
)

const invocationID = "62419FC1-5ABF-4D96-BCA8-7A5F6F9A69EE"

func TestGolden(t *testing.T) {
	t.Parallel()
	invocation := &Invocation{Protocol: 2, Version: "629.3",
		Device: "A7DD28AC-2911-4549-811D-85917B9AC72F", ID: invocationID,
		Feature: FeaturePrefix + featUninstall,
		Input:   xpc.Dict{{Key: keyBundleID, Value: "com.example.shop"}}}
	refusal := refuse(DomainAction, actionNotImplemented, "Action 'x' is not implemented.")
	for name, c := range map[string]struct {
		wire  string
		flags uint32
		body  xpc.Dict
	}{
		"request": {requestHex, xpc.FlagsRequest, invocation.Encode()},
		"output":  {outputHex, xpc.FlagsReply, encodeOutput(invocationID, nil)},
		"error":   {errorHex, xpc.FlagsReply, encodeFailure("I", refusal)},
	} {
		wire := unhex(t, c.wire)
		got, err := xpc.Append(nil, &xpc.Message{Flags: c.flags, ID: 1, Body: c.body})
		if err != nil {
			t.Errorf("%s: Append: %v", name, err)
		}
		if !bytes.Equal(got, wire) {
			t.Errorf("%s: Append = % x, want % x", name, got, wire)
		}
		m, _, err := xpc.Decode(wire)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "request":
			got, err := DecodeInvocation(m.Body)
			if err != nil {
				t.Errorf("DecodeInvocation(% x): %v", wire, err)
			}
			if !reflect.DeepEqual(got, invocation) {
				t.Errorf("DecodeInvocation(% x) = %+v, want %+v", wire, got, invocation)
			}
		case "output":
			got, err := decodeReply(m.Body)
			if err != nil {
				t.Errorf("decodeReply(% x): %v", wire, err)
			}
			if !reflect.DeepEqual(got, xpc.Dict{}) {
				t.Errorf("decodeReply(% x) = %+v, want {}", wire, got)
			}
		case "error":
			got, err := decodeReply(m.Body)
			if !reflect.DeepEqual(err, error(refusal)) {
				t.Errorf("decodeReply(% x): %#v, want %#v", wire, err, refusal)
			}
			if got != nil {
				t.Errorf("decodeReply(% x) = %+v beside an error", wire, got)
			}
		}
	}
}

// xcode returns a launch request as Xcode sends it.
func xcode(t testing.TB) xpc.Dict {
	t.Helper()
	b, err := os.ReadFile("testdata/go-ios/xpc_dict.bin")
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := xpc.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return m.Body
}

func TestDecodeInvocation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		body xpc.Dict
		want *Invocation
	}{
		{"Xcode", xcode(t), &Invocation{
			Version: "348.1", Device: "A7DD28AC-2911-4549-811D-85917B9AC72F", ID: invocationID,
			Feature: FeaturePrefix + featLaunch,
		}},
		{"no input", xpc.Dict{{Key: keyFeature, Value: "f"}}, &Invocation{Feature: "f"}},
		{
			"null input",
			xpc.Dict{{Key: keyFeature, Value: "f"}, {Key: keyInput, Value: xpc.Null{}}},
			&Invocation{Feature: "f"},
		},
		{
			"action alone", xpc.Dict{{Key: keyActionID, Value: "a"}, {Key: keyInput, Value: "x"}},
			&Invocation{Action: "a", Input: "x"},
		},
		{"version without text", xpc.Dict{{Key: keyFeature, Value: "f"}, {
			Key:   keyVersion,
			Value: xpc.Dict{{Key: "components", Value: []any{uint64(443), uint64(18)}}},
		}},
			&Invocation{Feature: "f", Version: "443.18"}},
		{"odd types", xpc.Dict{
			{Key: keyFeature, Value: "f"}, {Key: keyProtocol, Value: uint64(2)},
			{Key: keyDevice, Value: xpc.UUID{}}, {Key: keyVersion, Value: "1"},
		},
			&Invocation{Feature: "f", Protocol: 2}},
		{"nothing", xpc.Dict{}, nil},
		{
			"nothing that is asked for",
			xpc.Dict{{Key: keyFeature, Value: int64(1)}, {Key: keyInput, Value: xpc.Dict{}}}, nil,
		},
	} {
		got, err := DecodeInvocation(c.body)
		if c.want == nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: DecodeInvocation(%v) = %+v, %v", c.name, c.body, got, err)
			}
			continue
		}
		if c.name == "Xcode" && got != nil {
			if _, ok := got.Input.(xpc.Dict); !ok {
				t.Errorf("input is %v", got.Input)
			}
			got.Input = nil
		}
		if err != nil {
			t.Errorf("%s: DecodeInvocation(%v): %v", c.name, c.body, err)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: DecodeInvocation(%v) = %+v, want %+v", c.name, c.body, got, c.want)
		}
	}
}

// TestActionAlone checks which keys the envelope of an action without a feature lacks.
func TestActionAlone(t *testing.T) {
	t.Parallel()
	d := (&Invocation{Action: "a"}).Encode()
	for key, want := range map[string]bool{
		keyActionID: true, keyFeature: false, keyAction: false, keyInput: true, keyInvocation: true,
	} {
		if _, got := d.Get(key); got != want {
			t.Errorf("%s is there: %v", key, got)
		}
	}
	both := (&Invocation{Action: "a", Feature: "f"}).Encode()
	for _, key := range []string{keyActionID, keyFeature, keyAction} {
		if _, ok := both.Get(key); !ok {
			t.Errorf("%s is missing", key)
		}
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	u := xpc.UUID{1}
	status := func(v any) xpc.Dict {
		return xpc.Dict{{Key: keyStatus, Value: v}, {Key: keySideChannel, Value: u}}
	}
	failure := xpc.Dict{
		{Key: "domain", Value: "D"}, {Key: "code", Value: int64(4)},
		{Key: "userInfo", Value: xpc.Dict{{Key: keyDebug, Value: "why"}}},
	}
	for _, c := range []struct {
		name string
		body xpc.Dict
		want *push
		err  string
	}{
		{"elements", status(
			xpc.Dict{{Key: "pushing", Value: xpc.Dict{{Key: "elements", Value: []any{"a"}}}}},
		), &push{channel: u, elements: []any{"a"}}, ""},
		{
			"no elements", status(xpc.Dict{{Key: "pushing", Value: xpc.Dict{}}}), &push{channel: u},
			"",
		},
		{
			"end", status(xpc.Dict{{Key: "finishStreaming", Value: xpc.Dict{}}}),
			&push{channel: u, finished: true}, "",
		},
		{"failure", status(xpc.Dict{{Key: "receivedError", Value: failure}}), nil, "D 4"},
		{
			"failure in a case",
			status(xpc.Dict{{Key: "receivedError", Value: xpc.Dict{{Key: "_0", Value: failure}}}}),
			nil, "D 4",
		},
		{"refusal", xpc.Dict{{Key: keyError, Value: failure}}, nil, "D 4"},
		{"empty refusal", xpc.Dict{{Key: keyError, Value: xpc.Dict{}}}, nil, "unknown domain 0"},
		{"unknown", status(xpc.Dict{{Key: "x", Value: xpc.Dict{}}}), nil, "status"},
		{"nothing", xpc.Dict{}, nil, "status"},
	} {
		got, err := decodePush(c.body)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: decodePush(%v) = %+v, want %+v", c.name, c.body, got, c.want)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: decodePush(%v): %v, want %q", c.name, c.body, err, c.err)
		}
	}
	for _, p := range []*push{{channel: u, elements: []any{"a"}}, {channel: u, finished: true}} {
		got, err := decodePush(p.encode())
		if err != nil {
			t.Errorf("decodePush(encode(%+v)): %v", p, err)
		}
		if !reflect.DeepEqual(got, p) {
			t.Errorf("decodePush(encode(%+v)) = %+v", p, got)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	deep := refuse("D", 1, "end")
	for range 3 * maxUnderlying {
		deep = refuse("D", 1, "more", because(deep))
	}
	for _, c := range []struct {
		err  *Error
		text string
		is   error
	}{
		{&Error{Op: "x", Err: fs.ErrClosed}, "coredevice: x: file already closed", fs.ErrClosed},
		{failed("x", "s", refuse("D", -1, "")), `coredevice: x "s": (D -1)`, nil},
		{
			failed("x", "", refuse(DomainCoreDevice, 10003, "The device is locked.")),
			"coredevice: x: The device is locked. (com.apple.dt.CoreDeviceError 10003)", ErrLocked,
		},
		{
			failed("x", "", refuse(DomainCoreDevice, 1001, "")),
			"coredevice: x: (com.apple.dt.CoreDeviceError 1001)", errors.ErrUnsupported,
		},
		{
			failed("x", "", refuse("D", 1, "outer", because(refuse(domainOpenApp, 7, "inner")))),
			"coredevice: x: outer (D 1): inner", ErrLocked,
		},
		{
			failed("x", "", refuse("D", 1, "outer", xpc.Pair{Key: keyReason, Value: "reason"})),
			"coredevice: x: outer (D 1): reason", nil,
		},
		{failed("x", "", deep), "coredevice: x: more (D 1)", nil},
	} {
		if c.err.Error() != c.text {
			t.Errorf("error %q, want %q", c.err, c.text)
		}
		if c.is != nil && !errors.Is(c.err, c.is) {
			t.Errorf("%v is not %v", c.err, c.is)
		}
		if errors.Is(c.err, fs.ErrNotExist) {
			t.Errorf("%v is fs.ErrNotExist", c.err)
		}
		if errors.Is(c.err, nil) {
			t.Errorf("%v is nil", c.err)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, path string }{
		{"/a b", "/a b"}, {"file:///a%20b/c", "/a b/c"}, {"file:///kernel", "/kernel"}, {"", ""},
		{"file://%zz", "file://%zz"},
	} {
		if got := pathOf(c.text); got != c.path {
			t.Errorf("pathOf(%q) = %q, want %q", c.text, got, c.path)
		}
	}
	const file = "/private/var/Übung 1.app/x"
	got := urlOf(file)
	if pathOf(got) != file {
		t.Errorf("pathOf(%q) = %q, want %q", got, pathOf(got), file)
	}
	if strings.Contains(got, " ") {
		t.Errorf("urlOf(%q) = %q has a space", file, got)
	}
	if !strings.HasPrefix(got, "file:///private") {
		t.Errorf("urlOf(%q) = %q is not a file URL", file, got)
	}
	for name, want := range map[string]string{
		"a.tar.gz": "a.tar.gz", "../../a": "a", `..\b`: "b", "/": "", "..": "", "": "",
		"a\x00b": "",
	} {
		if got := safeName(name); got != want {
			t.Errorf("safeName(%q) = %q, want %q", name, got, want)
		}
	}
}

// FuzzEnvelope passes the same dictionary to every decoder of the package.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{requestHex, outputHex, errorHex} {
		f.Add(unhex(f, s))
	}
	raw, err := os.ReadFile("testdata/go-ios/xpc_dict.bin")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	seeds := []xpc.Dict{
		(&push{
			channel: xpc.UUID{1}, elements: []any{xpc.Dict{{Key: keyBundleID, Value: "x"}}},
		}).encode(),
		wrapStream(AllApps.input(), xpc.UUID{2}),
		{{
			Key:   keyDisplays,
			Value: []any{xpc.Dict{{Key: keyNativeSize, Value: []any{1.5, int64(2)}}}},
		}},
		{
			{Key: keyPID, Value: int64(7)}, {Key: keyAuditToken, Value: []any{uint64(1)}},
			{Key: keyExecutable, Value: xpc.Dict{{Key: keyRelative, Value: "file:///x"}}},
		},
	}
	for _, d := range seeds {
		b, err := xpc.Append(nil, &xpc.Message{Flags: xpc.FlagsOneWay, Body: d})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := xpc.Decode(b)
		if err != nil || m.Body == nil {
			return
		}
		if i, err := DecodeInvocation(m.Body); err == nil {
			again, err := DecodeInvocation(i.Encode())
			if err != nil {
				t.Fatalf("DecodeInvocation(Encode(%+v)): %v", i, err)
			}
			if again.Feature != i.Feature {
				t.Errorf("feature %q becomes %q", i.Feature, again.Feature)
			}
			if again.Action != i.Action {
				t.Errorf("action %q becomes %q", i.Action, again.Action)
			}
			if again.ID != i.ID {
				t.Errorf("id %q becomes %q", i.ID, again.ID)
			}
			if again.Version != i.Version {
				t.Errorf("version %v becomes %v", i.Version, again.Version)
			}
			body, _ := i.Input.(xpc.Dict)
			in := newInput(body)
			options := in.sub(keyOptions)
			options.texts(keyArguments)
			options.dictionary(keyEnvironment)
			background(platformOptions(options))
			in.pid(keyProcess)
			_ = in.err()
		}
		for _, err := range []error{
			second(decodeReply(m.Body)), second(decodePush(m.Body)),
			second(parseDisplays(t.Context(), m.Body)), second(parseApp(m.Body)),
			second(parseProcess(m.Body)),
		} {
			if err != nil && err.Error() == "" {
				t.Error("an error says nothing")
			}
		}
		parseAttributes(m.Body)
	})
}

func second[T any](_ T, err error) error { return err }
