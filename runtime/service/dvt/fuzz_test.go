package dvt

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/fuzztest"
)

// addValues adds archives of values that the channels exchange.
func addValues(f *testing.F) {
	f.Add(sampleBytes(f))
	archives, err := filepath.Glob("../../codec/nskeyed/testdata/go-ios/*.bin")
	if err != nil {
		f.Fatalf("Glob: %v", err)
	}
	if len(archives) == 0 {
		f.Fatal("no archives")
	}
	for _, file := range archives {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, v := range []any{
		nil, true, int64(7), "/private/var", 1.5, []byte("\x89PNG"), []any{"pid", "name"},
		nskeyed.Date(7e8),
		[]any{nskeyed.Dict{
			{Key: "pid", Value: int64(1)}, {Key: "name", Value: "launchd"},
			{Key: "startDate", Value: nskeyed.Date(1)},
		}},
		[]any{nskeyed.Dict{
			{Key: "identifier", Value: "SlowNetwork"},
			{Key: "profiles", Value: []any{nskeyed.Dict{{Key: "identifier", Value: "x"}}}},
		}},
		[]any{nskeyed.Dict{
			{Key: "CFBundleIdentifier", Value: "com.example"}, {Key: "Restricted", Value: int64(1)},
		}},
		[]any{uint64(1), int64(125), int64(3), uint64(2), 1.7e9, "GMT"},
		[]any{
			"", "com.apple.Preferences", nskeyed.Dict{{Key: "A", Value: "B"}}, []any{"-x"},
			nskeyed.Dict{{Key: optionKill, Value: true}},
		},
		[]any{"SlowNetwork", "SlowNetwork100PctLoss"}, []any{48.1, 11.5}, []any{int64(9), int64(1)},
		nskeyed.Dict{
			{Key: "ur", Value: int64(1000)}, {Key: "procAttrs", Value: []any{"pid"}},
			{Key: "sysAttrs", Value: []any{"vmFreeCount"}},
		},
		nskeyed.Dict{
			{Key: "appName", Value: "x"}, {Key: "state", Value: int64(8)},
			{Key: "timestamp", Value: nskeyed.Date(1)},
		},
		nskeyed.Dict{{Key: "en0", Value: "Wi-Fi"}},
	} {
		b, err := nskeyed.Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// events returns a handler that gives the same answer to every call. It then sends the
// value as the event of each stream and as an object, and closes the channel.
func events(ch *dtx.Channel, v any) dtx.Handler {
	return dtx.HandlerFunc(func(ctx context.Context, in *dtx.Incoming) (any, error) {
		if !slices.Contains([]string{selObserve, selAppNotes, selStart}, in.Selector) {
			return v, nil
		}
		_ = in.Reply(ctx, v) // has no effect for a message that expects no reply
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, selector := range []string{eventOutput, eventTerminated, eventApp, eventMemory} {
			_ = ch.Send(ctx, selector, list...)
		}
		if b, err := nskeyed.Encode(v); err == nil {
			_ = ch.SendBytes(ctx, dtx.Object, b)
		}
		_ = ch.Close(ctx)
		return nil, dtx.ErrLater
	})
}

// FuzzClient answers every call of every channel with an arbitrary value and sends it
// as every event. All calls and streams end with a typed error or with a result.
func FuzzClient(f *testing.F) {
	addValues(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := classes().Decode(b)
		if err != nil {
			return
		}
		if _, err := nskeyed.Encode(v); err != nil {
			return // the device side of this test cannot send it
		}
		ctx := fuzztest.Context(t)
		server := dtx.Server{
			Channels: map[string]func(*dtx.Channel) dtx.Handler{},
			Classes:  classes(),
		}
		for _, id := range Channels() {
			server.Channels[id] = func(ch *dtx.Channel) dtx.Handler { return events(ch, v) }
		}
		s := connectTo(t, &server, Options{})
		for name, call := range suite.Calls {
			if err := call(s, ctx); err != nil {
				wantTyped(t, ctx, name, err)
			}
		}
		streamAll(t, ctx, s)
	})
}

// streamAll reads each stream to its end.
func streamAll(t *testing.T, ctx context.Context, s *Session) {
	t.Helper()
	read := func(name string, next func() error, err error) {
		for err == nil {
			err = next()
		}
		if !errors.Is(err, io.EOF) {
			wantTyped(t, ctx, name, err)
		}
	}
	p, err := s.Observe(ctx, 7)
	read("observe", func() error { _, err := p.Next(ctx); return err }, err)
	n, err := s.Notifications(ctx, NotificationOptions{Apps: true})
	read("notifications", func() error { _, err := n.Next(ctx); return err }, err)
	m, err := s.Sysmon(ctx, SysmonConfig{Processes: []string{"pid"}, System: []string{"x"}})
	read("sysmon", func() error { _, err := m.Next(ctx); return err }, err)
	if p != nil {
		p.Close()
	}
	if n != nil {
		n.Close()
	}
	if m != nil {
		m.Close()
	}
}

func wantTyped(t *testing.T, ctx context.Context, name string, err error) {
	t.Helper()
	fuzztest.Typed[*Error](t, name, err)
	if ctx.Err() != nil {
		t.Fatalf("%s did not end: %v", name, err)
	}
}

// FuzzDevice passes an arbitrary value to every method of every channel of the device
// side. The device answers each call, and the connection stays usable.
func FuzzDevice(f *testing.F) {
	addValues(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := classes().Decode(b)
		if err != nil {
			return
		}
		args, ok := v.([]any)
		if !ok {
			args = []any{v, v}
		}
		if _, err := nskeyed.Encode(args); err != nil {
			return
		}
		ctx := fuzztest.Context(t)
		s := connectTo(t, suite.Device(t), Options{})
		for _, id := range Channels() {
			for _, selector := range Selectors(id) {
				if _, err := s.Call(ctx, id, selector, args...); err != nil {
					wantTyped(t, ctx, selector, err)
				}
			}
		}
		if name, err := s.KernelName(ctx); err != nil {
			t.Errorf("KernelName afterwards: %v", err)
		} else if name == "" {
			t.Error("KernelName afterwards is empty")
		}
	})
}
