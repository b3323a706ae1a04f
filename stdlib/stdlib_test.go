package stdlib_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib"
)

// newHost makes a host with the library. It is closed at the end of the test.
func newHost(t testing.TB, o host.Options) *host.Host {
	t.Helper()
	h := host.New(o)
	t.Cleanup(func() { h.Close() })
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs a script and returns what it printed.
func run(t testing.TB, o host.Options, source string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	o.Stdout = &out
	err := newHost(t, o).Run(t.Context(), "test.lua", source)
	return out.String(), err
}

// prints runs a script that must succeed, and compares what it prints.
func prints(t testing.TB, source, want string) {
	t.Helper()
	got, err := run(t, host.Options{}, source)
	if err != nil {
		t.Fatalf("%s\n%v", source, err)
	}
	if got != want {
		t.Errorf("%s\nprinted %q, want %q", source, got, want)
	}
}

// fails runs a script that must raise an error object, and compares its code. The message must
// contain text.
func fails(t testing.TB, o host.Options, source, code, text string) {
	t.Helper()
	out, err := run(t, o, source)
	var e *host.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s\nerror = %v, want a *host.Error (printed %q)", source, err, out)
	}
	if e.Code != code {
		t.Errorf("%s\ncode = %q (%v), want %q", source, e.Code, err, code)
	}
	if !strings.Contains(e.Message, text) {
		t.Errorf("%s\nmessage = %q, want %q in it", source, e.Message, text)
	}
}

func TestDeclarations(t *testing.T) {
	t.Parallel()
	for _, err := range api.Registry(newHost(t, host.Options{})).Lint() {
		t.Error(err)
	}
}

// TestExamples runs every example that states its result: `return expression -- => value`, where
// the value is Lua, or `print(x) -- => text`.
func TestExamples(t *testing.T) {
	t.Parallel()
	n := 0
	for _, e := range api.Registry(newHost(t, host.Options{})).Examples() {
		line := e.Source[strings.LastIndexByte(e.Source, '\n')+1:]
		code, want, ok := strings.Cut(line, "-- => ")
		if !ok {
			continue
		}
		n++
		body := strings.TrimSuffix(e.Source, line) + code
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(strings.TrimSpace(code), "return ") {
				returns(t, body, want)
			} else {
				prints(t, body, want+"\n")
			}
		})
	}
	if n < 60 {
		t.Errorf("%d examples state their result, want 60 or more", n)
	}
}

// returns runs the body of a function and compares its results with a list of Lua expressions.
func returns(t *testing.T, body, want string) {
	t.Helper()
	h := newHost(t, host.Options{})
	h.SetGlobal("compare", h.L().NewFunction(func(L *lua.LState) int {
		got := host.Inspect(L, L.Get(1), host.InspectOptions{Sort: true, Full: true})
		want := host.Inspect(L, L.Get(2), host.InspectOptions{Sort: true, Full: true})
		if got != want {
			t.Errorf("%s\ngave %s, want %s", body, got, want)
		}
		return 0
	}))
	source := fmt.Sprintf(`
local function got()
%s
end
local function want() return %s end
compare({ got() }, { want() })`, body, want)
	if err := h.Run(t.Context(), "example.lua", source); err != nil {
		t.Errorf("%s\n%v", body, err)
	}
}
