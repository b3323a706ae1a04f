package api_test

import (
	"context"
	"slices"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// radio has methods whose strings depend on the object and on each other.
type radio struct{ stations []string }

func radioModule() *api.Module {
	c := api.NewClass[*radio]("Radio", "A radio.")
	c.Methods = []*api.Func{
		api.Method("play", "Plays.", "station song", func(*api.Call, *radio, string, string) {},
			api.StringChoices("station", func(a api.Argument) []string {
				r, ok := a.Self.(*radio)
				if !ok {
					return []string{"unknown"}
				}
				return r.stations
			}),
			api.StringChoices("song", func(a api.Argument) []string {
				return []string{a.Before[0] + "-one", a.Before[0] + "-two", a.Word + "-typed"}
			})),
	}
	type options struct {
		Band string `lua:"band" doc:"band" enum:"fm|am"`
	}
	return &api.Module{
		Name:    "radios",
		Flat:    true,
		Doc:     "Radios.",
		Classes: []*api.Class{c},
		Funcs: []*api.Func{
			api.Function(
				"tune",
				"Makes one.",
				"opts?",
				func(*api.Call, options) *radio { return &radio{[]string{"jazz", "news"}} },
			),
		},
	}
}

func TestCompleteChoices(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	t.Cleanup(func() { h.Close() })
	if err := api.Install(h, radioModule()); err != nil {
		t.Fatal(err)
	}
	ix := api.Registry(h)
	s := h.Interactive(context.Background())
	t.Cleanup(func() { s.Close() })
	if _, err := s.Eval(context.Background(), "setup", "r = tune() box = { r = r }"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		text string
		want []string
	}{
		{`r:play("`, []string{"jazz", "news"}},
		{`r:play("j`, []string{"jazz"}},
		{`x = box.r:play("n`, []string{"news"}},
		{`tune():play("`, []string{"unknown"}}, // completion does not call tune
		{`r:play("jazz", "`, []string{"jazz-one", "jazz-two", "-typed"}},
		{`r:play('jazz', "jazz-t`, []string{"jazz-two", "jazz-t-typed"}},
		{`r:play(f("jazz"), "`, []string{"-one", "-two", "-typed"}},
		{`r:play("a" .. b, "`, []string{"-one", "-two", "-typed"}},
		{`r:play("a\n", "`, []string{"-one", "-two", "-typed"}},
		{`r:play([[jazz]], "`, []string{"-one", "-two", "-typed"}},
		{`r:play("a", "b", "`, nil},
		{`tune{ band = "`, []string{"fm", "am"}},
		{`tune{ band = "a`, []string{"am"}},
		{`tune{ bond = "`, nil},
	} {
		var c api.Completion
		s.With(func(L *lua.LState) { c = ix.Complete(L, tc.text) })
		var got []string
		for _, it := range c.Items {
			got = append(got, it.Text)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("Complete(%q) = %q, want %q", tc.text, got, tc.want)
		}
	}
}
