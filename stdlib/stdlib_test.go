package stdlib_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib"
)

func newHost(t testing.TB, o host.Options) *host.Host {
	t.Helper()
	h := host.New(o)
	t.Cleanup(func() { h.Close() })
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	return h
}

func run(t testing.TB, o host.Options, source string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	o.Stdout = &out
	err := newHost(t, o).Run(context.Background(), "test.lua", source)
	return out.String(), err
}

func TestDeclarations(t *testing.T) {
	t.Parallel()
	for _, err := range api.Registry(newHost(t, host.Options{})).Lint() {
		t.Error(err)
	}
}

// TestExamples runs every example that states its result: `return expression -- => value`, where the value
// is Lua, or `print(x) -- => text`.
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
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			body := strings.TrimSuffix(e.Source, line) + code
			if !strings.HasPrefix(strings.TrimSpace(code), "return ") {
				out, err := run(t, host.Options{}, body)
				if err != nil || strings.TrimSpace(out) != want {
					t.Errorf("%s\nprinted %q, error %v", e.Source, out, err)
				}
				return
			}
			check := fmt.Sprintf("local function got()\n%s\nend\nlocal function want() return %s end\ncompare({got()}, {want()}, select('#', got()))", body, want)
			h := newHost(t, host.Options{})
			h.SetGlobal("compare", h.L().NewFunction(func(L *lua.LState) int {
				a := host.Inspect(L, L.Get(1), host.InspectOptions{Sort: true, Full: true})
				b := host.Inspect(L, L.Get(2), host.InspectOptions{Sort: true, Full: true})
				if a != b {
					t.Errorf("%s\ngave %s, want %s", e.Source, a, b)
				}
				return 0
			}))
			if err := h.Run(context.Background(), "example.lua", check); err != nil {
				t.Errorf("%s\n%v", e.Source, err)
			}
		})
	}
	if n < 60 {
		t.Errorf("only %d examples state their result", n)
	}
}
