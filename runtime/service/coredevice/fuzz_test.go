package coredevice

import (
	"context"
	"io"
	"os"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// addMessages adds invocations and their answers to the corpus.
func addMessages(f *testing.F) {
	for _, s := range []string{requestHex, outputHex, errorHex} {
		f.Add(unhex(f, s))
	}
	raw, err := os.ReadFile("testdata/go-ios/xpc_dict.bin")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	app := xpc.Dict{{Key: keyBundleID, Value: "com.example"}}
	process := xpc.Dict{
		{Key: keyPID, Value: int64(7)},
		{Key: keyExecutable, Value: xpc.Dict{{Key: keyRelative, Value: "file:///x"}}},
	}
	for _, d := range []xpc.Dict{
		output(xpc.Dict{}), output([]any{app}), output(app), output(process), output(int64(1)),
		output(xpc.Dict{
			{Key: "processTokens", Value: []any{process}}, {Key: "processToken", Value: process},
		}),
		output(xpc.Dict{{
			Key:   keyDisplays,
			Value: []any{xpc.Dict{{Key: keyNativeSize, Value: []any{1.5, int64(2)}}}},
		}}),
		(&push{channel: xpc.UUID{1}, elements: []any{app}}).encode(),
		(&push{channel: xpc.UUID{1}, finished: true}).encode(),
		encodeFailure("x", refuse(DomainAction, actionFailed, "no",
			because(refuse(DomainAction, actionNotImplemented, "x")))),
		wrapStream(AllApps.input(), xpc.UUID{2}),
		{processInput(keyProcess, 7), {Key: keySignal, Value: int64(9)}},
	} {
		b, err := xpc.Append(nil, &xpc.Message{Flags: xpc.FlagsOneWay, Body: d})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func decodeBody(b []byte) xpc.Dict {
	m, _, err := xpc.Decode(b)
	if err != nil {
		return nil
	}
	return m.Body
}

// FuzzClient answers every call with an arbitrary message. Each call ends with a typed
// error or with a result.
func FuzzClient(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		body := decodeBody(b)
		if body == nil {
			return
		}
		ctx := fuzztest.Context(t)
		for name, call := range suite.Calls {
			c := fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
				if err := c.Reply(ctx, m, body); err != nil {
					return err
				}
				_ = c.Send(ctx, body)
				return io.EOF
			})
			err := call(c, ctx)
			fuzztest.Typed[*Error](t, name, err)
			if ctx.Err() != nil {
				t.Fatalf("%s did not end: %v", name, err)
			}
			c.Close()
		}
	})
}

// FuzzDevice sends arbitrary input to every feature of every service. The device
// answers each invocation or closes the connection.
func FuzzDevice(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		body := decodeBody(b)
		if body == nil {
			return
		}
		if in, ok := body.Dict(keyInput); ok {
			body = in
		}
		ctx := fuzztest.Context(t)
		p := phonetest.New(t, phone.Options{Profile: "ios26"})
		dev := &Device{Phone: p}
		for _, n := range []service.Name{AppService, DeviceInfo, Diagnostics} {
			for _, feature := range Features(n, "26.0") {
				serveOnce(t, ctx, dev.Handler(n), feature, body)
			}
		}
	})
}

// serveOnce invokes a feature and disconnects.
func serveOnce(
	t *testing.T,
	ctx context.Context,
	h service.Handler,
	feature string,
	input xpc.Dict,
) {
	t.Helper()
	c := servicetest.Conn(t, h)
	x, err := remotexpc.Connect(ctx, c, remotexpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	request := (&Invocation{
		Feature: feature, Input: input, ID: "x", Protocol: protocolVersion,
		Version: coreDeviceVersion,
	}).Encode()
	err = x.Write(
		ctx,
		&remotexpc.Message{
			Stream:  1,
			Message: xpc.Message{Flags: xpc.FlagsRequest, ID: 1, Body: request},
		},
	)
	if err == nil && feature != FeaturePrefix+featMonitor {
		_, err = x.Receive(ctx)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s is not answered: %v", feature, err)
	}
	x.Close()
}
