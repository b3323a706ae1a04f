package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

type earlyOptions struct {
	Count int `lua:"count" doc:"how often" default:"3"`
}

// earlyModule declares functions with optional parameters before the options.
func earlyModule() *api.Module {
	none := api.Perm("none")
	return &api.Module{
		Name: "early", Global: true, Doc: "Early options.", Perm: "none",
		Funcs: []*api.Func{
			api.Function("scalars", "Shows its arguments.", "a b? c? opts?",
				func(_ *api.Call, a string, b *string, c *int, o earlyOptions) string {
					return fmt.Sprint(a, b == nil, c == nil, o.Count)
				}, none),
			api.Function("table", "Shows its arguments.", "a? opts?",
				func(_ *api.Call, a map[string]int, o earlyOptions) string {
					return fmt.Sprint(a, o.Count)
				}, none),
			api.Function("any", "Shows its arguments.", "a? opts?",
				func(_ *api.Call, a any, o earlyOptions) string {
					return fmt.Sprint(a != nil, o.Count)
				}, none),
		},
	}
}

// TestEarlyOptions leaves out optional arguments before the table of options.
func TestEarlyOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ call, want, code string }{
		{`early.scalars("x", "y", 5, { count = 1 })`, "xfalse false 1\n", ""},
		{`early.scalars("x", "y", { count = 1 })`, "xfalse true 1\n", ""},
		{`early.scalars("x", { count = 1 })`, "xtrue true 1\n", ""},
		{`early.scalars("x", {})`, "xtrue true 3\n", ""},
		{`early.scalars("x", nil, nil, { count = 1 })`, "xtrue true 1\n", ""},
		{`early.scalars({ count = 1 })`, "", "argument"},
		{`early.scalars("x", { cuont = 1 })`, "", "argument"},
		{`early.scalars("x", { count = 1 }, 5)`, "", "argument"},
		{`early.scalars("x", { count = 1 }, nil, { count = 2 })`, "", "argument"},
		{`early.scalars("x", setmetatable({ count = 1 }, {}))`, "", "argument"},
		{`early.table{ count = 1 }`, "map[count:1] 3\n", ""},
		{`early.any{ count = 1 }`, "true 3\n", ""},
	} {
		var out bytes.Buffer
		h := host.New(host.Options{Stdout: &out})
		lua51.Open(h)
		if err := api.Install(h, earlyModule()); err != nil {
			t.Fatal(err)
		}
		err := h.Run(context.Background(), "test.lua", "print("+tc.call+")")
		h.Close()
		var e *host.Error
		code := ""
		if errors.As(err, &e) {
			code = e.Code
		}
		if code != tc.code {
			t.Errorf("%s gave %v, want the code %q", tc.call, err, tc.code)
		}
		if got := out.String(); got != tc.want {
			t.Errorf("%s printed %q, want %q", tc.call, got, tc.want)
		}
	}
}
