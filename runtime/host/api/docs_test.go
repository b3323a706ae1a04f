package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

func index(t testing.TB) *api.Index {
	t.Helper()
	h := host.New(host.Options{})
	t.Cleanup(func() { h.Close() })
	if err := api.Install(h, testModule()); err != nil {
		t.Fatal(err)
	}
	return api.Registry(h)
}

func TestLintPasses(t *testing.T) {
	t.Parallel()
	for _, err := range index(t).Lint() {
		t.Error(err)
	}
}

func TestLintFinds(t *testing.T) {
	t.Parallel()
	type badOptions struct {
		NoDoc string `lua:"no_doc"`
	}
	type badRecord struct {
		CamelCase string `lua:"CamelCase" doc:"x"`
	}
	good := []api.Option{api.Example("local x = 1")}
	bad := api.NewClass[*badOptions]("bad_class", "A class.")
	bad.Closer = false
	handle := api.NewClass[*Phone]("Handle", "A handle.")
	handle.Closer = true
	reader := api.NewClass[*badRecord]("Reader", "A reader.")
	reader.Methods = []*api.Func{
		api.Method("read", "Reads.", "", func(*api.Call, *badRecord) {}, good...),
	}
	m := &api.Module{
		Name: "m", Doc: "A module.", Perm: "none",
		Records: []*api.Record{api.NewRecord[badRecord]("Bad", "A record.")},
		Classes: []*api.Class{bad, handle, reader},
		Funcs: []*api.Func{
			api.Function(
				"misspelt",
				"Text.",
				"path",
				func(*api.Call, string) {},
				append(good, api.ParamDoc("pth", "x"))...),
			api.Function("bare", "Text.", "", func(*api.Call) *Phone { return nil }, good...),
			api.Function(
				"path",
				"Text.",
				"file",
				func(*api.Call, string) {},
				append(good, api.ParamDoc("file", "x"),
					api.StringKind("file", "path"))...),
			api.Function(
				"reads",
				"Text.",
				"",
				func(*api.Call) {},
				append(good, api.Perm("file-read"))...),
			api.Function("no_doc", "", "", func(*api.Call) {}, good...),
			api.Function("noExample", "Text.", "", func(*api.Call) {}),
			api.Function("syntax", "Text.", "", func(*api.Call) {}, api.Example("if if")),
			api.Function(
				"perm",
				"Text.",
				"",
				func(*api.Call) {},
				append(good, api.Perm("sudo"))...),
			api.Function("params", "Text.", "a b", func(_ *api.Call, a string) {}, good...),
			api.Function("param_doc", "Text.", "a", func(_ *api.Call, a string) {}, good...),
			api.Function("options", "Text.", "opts?", func(_ *api.Call, o badOptions) {}, good...),
			api.Function(
				"channel",
				"Text.",
				"c",
				func(_ *api.Call, c chan int) {},
				append(good, api.ParamDoc("c", "x"))...),
			api.Function(
				"result",
				"Text.",
				"",
				func(*api.Call) badOptions { return badOptions{} },
				good...),
			api.Function("not_a_function", "Text.", "", 5, good...),
			api.Raw(
				"raw_type",
				"Text.",
				"a",
				func(*lua.LState) int { return 0 },
				append(good, api.ParamDoc("a", "x"))...),
			api.Function(
				"code",
				"Text.",
				"",
				func(*api.Call) {},
				append(good, api.Raises("not found"))...),
		},
	}
	h := host.New(host.Options{})
	t.Cleanup(func() { h.Close() })
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, err := range api.Registry(h).Lint() {
		text.WriteString(err.Error() + "\n")
	}
	for _, want := range []string{
		"m.no_doc: no documentation", `name "noExample" is not snake_case`,
		"m.noExample: no example", "m.syntax: example does not parse",
		`m.perm: unknown permission "sudo"`, "m.params: 2 parameters are named, the function has 1",
		"m.param_doc: parameter a has no documentation",
		"m.options option no_doc: no documentation", "m.channel: c: parameters of type chan int",
		"m.result: result 1",
		"m.not_a_function: want func", "m.raw_type: parameter a has no type", "m.code: error code",
		"bad_class: class names are CamelCase",
		`Bad.CamelCase: name "CamelCase" is not snake_case`,
		`m.misspelt: ParamDoc names the parameter "pth", which does not exist`,
		"m.bare: returns a bare *api_test.Phone", "m.path: parameter file is a path",
		"m.reads: has the permission file-read",
		"Reader: has next or read",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("Lint() does not say %q; it says:\n%s", want, text.String())
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	type closer struct{ _ int }
	leak := api.NewClass[*closer]("Leak", "Cannot be closed.")
	leak.Closer = true
	for _, tc := range []struct {
		name string
		mods []*api.Module
		want string
	}{
		{"same name", []*api.Module{testModule(), {Name: "lab"}}, "installed already"},
		{
			"same class",
			[]*api.Module{testModule(), {Name: "other", Classes: testModule().Classes}},
			"declared as a class twice",
		},
		{
			"no close", []*api.Module{{Name: "m", Classes: []*api.Class{leak}}},
			"has no Close method",
		},
	} {
		h := host.New(host.Options{})
		t.Cleanup(func() { h.Close() })
		err := api.Install(h, tc.mods...)
		if err == nil {
			t.Errorf("%s: Install() = nil, want an error", tc.name)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Install() = %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	ix := index(t)
	for _, tc := range []struct{ topic, want string }{
		{"", "lab  Things to test with."},
		{"lab", "lab.phone([name], lines...)"},
		{"imd.lab", "module lab"},
		{"Phone", "dev:launch(bundle_id, [opts])"},
		{"dev:launch", `mode     "warm"|"cold": how (default warm)`},
		{"Phone.launch", "permission: control"},
		{"dev.name", "dev.name: string"},
		{"dev:close", "Closing twice is fine."},
		{"App", "bundle_id  string: bundle identifier"},
		{"lab.limit", "A constant."},
		{"Phonee", `did you mean "Phone"?`},
	} {
		if got := ix.Help(lua.LString(tc.topic)); !strings.Contains(got, tc.want) {
			t.Errorf("Help(%q) = %q, want %q in it", tc.topic, got, tc.want)
		}
	}
	want := []api.Hit{{Name: "Phone:launch", Doc: "Starts an app."}}
	if hits := ix.Search("starts an app"); !slices.Equal(hits, want) {
		t.Errorf("Search() = %v, want %v", hits, want)
	}
}

func TestHelpOfValues(t *testing.T) {
	t.Parallel()
	out, err := run(t, `dev = nil; lab.phone("x"):help("launch") lab.phone("x"):help()`)
	if err == nil {
		t.Fatalf("a new global was allowed, printed %q", out)
	}
	out, err = run(t, `lab.phone("x"):help("launch") lab.phone("x"):help()`)
	if err != nil {
		t.Fatalf("help failed: %v", err)
	}
	for _, want := range []string{"which app", "class Phone"} {
		if !strings.Contains(out, want) {
			t.Errorf("help printed %q, want %q in it", out, want)
		}
	}
}

func TestStubs(t *testing.T) {
	t.Parallel()
	stubs := index(t).Stubs()
	for _, want := range []string{
		"---@class PhoneLaunchOptions\n---@field args? string[] command line arguments\n---@field env? table<string, string> environment\n",
		"---@param bundle_id string which app\n---@param opts? PhoneLaunchOptions \n---@return string what\nfunction Phone:launch(bundle_id, opts) end",
		"---@operator call: string", "---@field next App next one", "---@class imd.lab",
		"function lab.phone(name, ...) end",
	} {
		if !strings.Contains(stubs, want) {
			t.Errorf("Stubs() lacks %q:\n%s", want, stubs)
		}
	}
	if _, err := parse.Parse(strings.NewReader(stubs), "stubs"); err != nil {
		t.Errorf("the stubs are not Lua: %v", err)
	}
	if again := index(t).Stubs(); again != stubs {
		t.Error("Stubs() differs from run to run")
	}
	ref := index(t).Reference()["lab"]
	for _, want := range []string{
		"# lab", "### dev:launch(bundle_id, [opts])",
		"| `timeout` | number | seconds (default 1.5) |", "## Record App",
	} {
		if !strings.Contains(ref, want) {
			t.Errorf("Reference() lacks %q:\n%s", want, ref)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	t.Cleanup(func() { h.Close() })
	if err := api.Install(h, testModule()); err != nil {
		t.Fatal(err)
	}
	ix := api.Registry(h)
	s := h.Interactive(context.Background())
	t.Cleanup(func() { s.Close() })
	if _, err := s.Eval(context.Background(), "setup", `
		dev = lab.phone("x") app = dev:app("a") text = "s"
		tbl = setmetatable({ own = 1, ["not a name"] = 2 }, { __index = { inherited = 2 } })
		trap = setmetatable({ plain = 1 }, { __index = function() error("ran") end })`); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, want, kind string }{
		{"de", "dev", ""},
		{"lab.ph", "phone", ""},
		{"dev:la", "launch", ""},
		{"dev:", "app close help keep launch nothing raw wait", ""},
		{"dev.", "name slow", ""},
		{"app.bun", "bundle_id", ""},
		{"app:", "totable", ""},
		{`print(dev:app("x").si`, "size", ""},
		{"lab.phone():lau", "launch", ""},
		{"lab.phone().nam", "name", ""},
		{`dev:launch("x", { a`, "args", ""},
		{`dev:launch("x", { kill = true, ti`, "timeout", ""},
		{`dev:launch("x", { kill = tr`, "true", ""},
		{`dev:launch("com.`, "", "bundle_id"},
		{`dev:launch "com.`, "", "bundle_id"},
		{`dev:launch("x", "`, "", ""},
		{"tbl.", "inherited own", ""},
		{"trap.", "plain", ""},
		{"text:fo", "format", ""},
		{"nothing.here.", "", ""},
		{"whi", "while", ""},
		{`print("a" .. de`, "dev", ""},
	} {
		var c api.Completion
		s.With(func(L *lua.LState) { c = ix.Complete(L, tc.text) })
		var names []string
		for _, it := range c.Items {
			names = append(names, it.Text)
		}
		got := strings.Join(names, " ")
		if strings.Contains(tc.want, " ") || len(tc.want) == 0 {
			if got != tc.want {
				t.Errorf("Complete(%q) = %q, want %q", tc.text, got, tc.want)
			}
			if c.Kind != tc.kind {
				t.Errorf("Complete(%q) has the kind %q, want %q", tc.text, c.Kind, tc.kind)
			}
		} else if len(names) == 0 {
			t.Errorf("Complete(%q) completes nothing, want %q", tc.text, tc.want)
		} else if !strings.Contains(" "+got+" ", " "+tc.want+" ") {
			t.Errorf("Complete(%q) = %q, want %q in it", tc.text, got, tc.want)
		}
	}
	c := ix.Complete(nil, "dev:la")
	if len(c.Items) != 1 {
		t.Fatalf("Complete without a state = %+v, want one candidate", c)
	}
	if c.Items[0].Text != "launch" {
		t.Errorf("Complete without a state = %q, want launch", c.Items[0].Text)
	}
	if c.From != 4 {
		t.Errorf("Complete without a state: From = %d, want 4", c.From)
	}
}

func FuzzComplete(f *testing.F) {
	for _, s := range []string{"dev:", `f{"a", [[`, "--[[ x", "a.b[1]:c(", `"\`} {
		f.Add(s)
	}
	ix := index(f)
	f.Fuzz(func(t *testing.T, text string) {
		c := ix.Complete(nil, text)
		if c.From < 0 || c.From > len(text) {
			t.Fatalf("Complete(%q): From = %d is not in the text", text, c.From)
		}
		if text[c.From:] != c.Word {
			t.Errorf("Complete(%q): the word is %q, want %q", text, c.Word, text[c.From:])
		}
	})
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, path string
		want          bool
	}{
		{"DCIM/**/*.{HEIC,MOV}", "DCIM/100APPLE/IMG_1.HEIC", true},
		{"DCIM/**/*.{HEIC,MOV}", "DCIM/IMG_1.MOV", true},
		{"DCIM/**/*.{HEIC,MOV}", "DCIM/a/b/IMG_1.JPG", false},
		{"*.txt", "a/b.txt", false},
		{"a?c", "abc", true},
		{"a?c", "a/c", false},
		{"[!a-c]x", "dx", true},
		{"[!a-c]x", "bx", false},
		{"a.b", "axb", false},
		{`\*`, "*", true},
		{"**", "a/b/c", true},
	} {
		g, err := api.CompileGlob(tc.pattern)
		if err != nil {
			t.Errorf("CompileGlob(%q) failed: %v", tc.pattern, err)
			continue
		}
		if got := g.Match(tc.path); got != tc.want {
			t.Errorf("glob %q on %q = %t, want %t", tc.pattern, tc.path, got, tc.want)
		}
	}
	for _, bad := range []string{"{a", "[a", strings.Repeat("a", 5000)} {
		if _, err := api.CompileGlob(bad); err == nil {
			t.Errorf("CompileGlob(%.20q) gave no error", bad)
		}
	}
	if g, _ := api.CompileGlob("DCIM/1*/x"); g.Base() != "DCIM/" {
		t.Errorf("Base() = %q, want DCIM/", g.Base())
	}
}
