package api_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

// Phone is the class of the tests.
type Phone struct {
	api.Turn
	name   string
	closed bool
	lines  []string
}

func (p *Phone) Close() error {
	p.closed = true
	return nil
}

type launchOptions struct {
	Args    []string          `lua:"args" doc:"command line arguments"`
	Env     map[string]string `lua:"env" doc:"environment"`
	Kill    bool              `lua:"kill" doc:"kill a running instance first"`
	Count   int               `lua:"count" doc:"how often" default:"3"`
	Mode    string            `lua:"mode" doc:"how" default:"warm" enum:"warm|cold"`
	Timeout time.Duration     `lua:"timeout" doc:"seconds" default:"1.5"`
}

// App is the record of the tests.
type App struct {
	BundleID string            `lua:"bundle_id" doc:"bundle identifier"`
	Size     int64             `lua:"size" doc:"bytes"`
	Ratio    float64           `lua:"ratio" doc:"a ratio"`
	Tags     []string          `lua:"tags" doc:"tags"`
	Env      map[string]string `lua:"env" doc:"environment"`
	Next     *App              `lua:"next" doc:"next one"`
	ID       uint64            `lua:"id" doc:"a big number"`
	Hidden   string
}

// Secret must not be callable.
func (a *App) Secret() string { return "secret" }

func testModule() *api.Module {
	phone := api.NewClass[*Phone]("Phone", "A phone.")
	phone.Var, phone.Closer, phone.Perm = "dev", true, "read"
	phone.String = func(p *Phone) string { return "Phone<" + p.name + ">" }
	phone.Next = func(_ *api.Call, p *Phone) (lua.LValue, error) {
		if len(p.lines) == 0 {
			return lua.LNil, nil
		}
		l := p.lines[0]
		p.lines = p.lines[1:]
		return lua.LString(l), nil
	}
	phone.NextType = "string"
	phone.Fields = []*api.Field{
		api.Property("name", "its name", func(p *Phone) string { return p.name }),
		{
			Name: "slow",
			Doc:  "without the generic getter",
			Get:  func(p *Phone) any { return len(p.name) },
		},
	}
	phone.Methods = []*api.Func{
		api.Method(
			"launch",
			"Starts an app.",
			"bundle_id opts?",
			launch,
			api.ParamDoc("bundle_id", "which app"),
			api.StringKind(
				"bundle_id",
				"bundle_id",
			),
			api.Returns("string what"),
			api.Perm("control"),
			api.Example(`dev:launch("com.x", { kill = true })`),
		),
		api.Method("nothing", "Does nothing.", "bundle_id opts?",
			func(*api.Call, *Phone, string, launchOptions) (int, error) { return 0, nil },
			api.ParamDoc("bundle_id", "which app"), api.Example(`dev:nothing("com.x")`)),
		api.Method("app", "Returns an app.", "id?", func(_ *api.Call, _ *Phone, id *string) *App {
			if id == nil {
				return nil
			}
			return testApp(*id)
		}, api.ParamDoc("id", "which app"), api.Example(`local a = dev:app("x")`)),
		api.RawMethod("raw", "Is hand-written.", "n:integer", func(L *lua.LState) int {
			L.Push(lua.LNumber(len(api.Self[*Phone](L).name)) + L.CheckNumber(2))
			return 1
		}, api.ParamDoc("n", "a number"), api.Example("dev:raw(1)")),
		api.Method("wait", "Waits.", "", func(c *api.Call, _ *Phone) error {
			return c.TryBlock(func(context.Context) error { return errors.New("no luck") })
		}, api.Example("dev:wait()")),
	}
	return &api.Module{
		Name: "lab", Doc: "Things to test with.", Global: true, Perm: "none",
		Classes: []*api.Class{phone},
		Records: []*api.Record{
			api.NewRecord[api.Skipped]("Skipped", "what was left out"),
			api.NewRecord[App]("App", "An app."),
		},
		Consts: []api.Const{{Name: "limit", Doc: "A constant.", Value: 7}},
		Funcs:  testFunctions(),
	}
}

func testFunctions() []*api.Func {
	any1 := func(name string, fn any) *api.Func {
		return api.Function(
			name,
			"Takes a value.",
			"value",
			fn,
			api.ParamDoc("value", "the value"),
			api.Example("local x = 1"),
		)
	}
	return []*api.Func{
		api.Function(
			"phone",
			"Makes a phone.",
			"name? lines...",
			func(c *api.Call, name *string, lines ...string) api.Opened[*Phone] {
				if name == nil {
					return api.Own(c, &Phone{name: "nameless"})
				}
				return api.Own(c, &Phone{name: *name, lines: lines})
			},
			api.ParamDoc("name", "its name"),
			api.ParamDoc("lines", "what it says"),
			api.Example(`local d = lab.phone("x")`),
		),
		any1("i8", func(_ *api.Call, n int8) int8 { return n }),
		any1("u64", func(_ *api.Call, n uint64) uint64 { return n }),
		any1("bytes", func(_ *api.Call, b []byte) []byte { return b }),
		any1("names", func(_ *api.Call, s []string) []string { return s }),
		any1("table", func(_ *api.Call, m map[string]int) map[string]int { return m }),
		any1("seconds", func(_ *api.Call, d time.Duration) string { return d.String() }),
		any1("same", func(_ *api.Call, v any) any { return v }),
		any1("of", func(_ *api.Call, p *Phone) string { return p.name }),
		any1("app", func(_ *api.Call, a *App) string { return a.BundleID }),
		any1("list", func(_ *api.Call, n int) api.List[*App] {
			return api.List[*App]{testApp("a"), testApp("b")}[:n]
		}),
		any1("part", func(c *api.Call, n int) api.Partial[*App] {
			return api.Partial[*App]{Items: []*App{testApp("a")}, Skipped: skips(c, n)}
		}),
		any1("parttable", func(c *api.Call, n int) api.PartialTable[string] {
			return api.PartialTable[string]{Items: []string{"b", "a"}[:n], Skipped: skips(c, n)}
		}),
		any1("broken", func(_ *api.Call, v []string) string { return v[len(v)] }),
	}
}

func skips(c *api.Call, n int) (out []*api.Skipped) {
	for range n {
		out = append(out, c.Skipped("/x", fs.ErrPermission))
	}
	return out
}

func testApp(id string) *App {
	return &App{
		BundleID: id,
		Size:     5,
		Ratio:    0.5,
		Tags:     []string{"x", "y"},
		Env:      map[string]string{"k": "v"},
		ID:       1 << 60,
		Next:     &App{BundleID: id + "2"},
	}
}

func launch(_ *api.Call, p *Phone, id string, o launchOptions) (string, error) {
	if id == "bad" {
		return "", host.Errorf("InvalidService", "no such thing")
	}
	return strings.Join(
		[]string{p.name, id, strings.Join(o.Args, "+"), o.Env["K"], o.Mode, o.Timeout.String(),
			strings.Repeat("x", o.Count)},
		" ",
	), nil
}

// run runs source in a fresh host with the test module and returns what it printed and the error.
func run(t testing.TB, source string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out, Stderr: &out})
	defer h.Close()
	lua51.Open(h)
	if err := api.Install(h, testModule()); err != nil {
		t.Fatal(err)
	}
	err := h.Run(context.Background(), "test.lua", source)
	return out.String(), err
}

func TestCalls(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{
			"options",
			`print(lab.phone("p"):launch("com.x", { args = {"a", "b"}, env = { K = "v" }, mode = "cold", timeout = 2, count = 1 }))`,
			"p com.x a+b v cold 2s x\n",
		},
		{"defaults", `print(lab.phone("p"):launch("com.x"))`, "p com.x   warm 1.5s xxx\n"},
		{
			"forever", `print(lab.phone("p"):launch("com.x", { timeout = math.huge }))`,
			"p com.x   warm -1ns xxx\n",
		},
		{"optional", `print(lab.phone().name, lab.phone(nil).slow)`, "nameless\t8\n"},
		{"nil result", `print(lab.phone():app())`, "nil\n"},
		{"iterator", `for l in lab.phone("p", "a", "b") do print(l) end`, "a\nb\n"},
		{"tostring", `print(lab.phone("p"), lab)`, "Phone<p>\tmodule lab\n"},
		{"constant", `print(lab.limit)`, "7\n"},
		{"raw method", `print(lab.phone("four"):raw(3))`, "7\n"},
		{"require", `print(require "imd.lab" == lab)`, "true\n"},
		{
			"pairs on an unused module",
			`local n = 0 for k in pairs(lab) do n = n + 1 end print(n > 5)`, "true\n",
		},
		{
			"integers",
			`print(lab.i8(-128), lab.u64(2^53), tostring(lab.u64(uint64("18446744073709551615"))))`,
			"-128\t9007199254740992\t18446744073709551615\n",
		},
		{"bytes", `print(lab.bytes("\0\255"):hex())`, "00ff\n"},
		{"lists", `print(#lab.names{"a", "b"}, #lab.names{})`, "2\t0\n"},
		{"dict", `print(lab.table{ a = 1 }.a)`, "1\n"},
		{
			"objects", `local d = lab.phone("x") print(lab.of(d), d == d, d ~= lab.phone("x"))`,
			"x\ttrue\ttrue\n",
		},
		{
			"record fields",
			`local a = lab.phone():app("x") print(a.bundle_id, a.size, a.ratio, a.next.bundle_id, a.next.next, tostring(a.id))`,
			"x\t5\t0.5\tx2\tnil\t1152921504606846976\n",
		},
		{
			"record lists",
			`local a = lab.phone():app("x") print(#a.tags, a.tags[2], a.tags[3], a.env.k, a.tags)`,
			"2\ty\tnil\tv\t{\"x\", \"y\"}\n",
		},
		{
			"record pairs",
			`local a = lab.phone():app("x") local s = "" for k in pairs(a) do s = s .. k .. " " end print(s)`,
			"bundle_id size ratio tags env next id \n",
		},
		{
			"record totable",
			`local t = lab.phone():app("x"):totable() print(type(t), t.next.bundle_id, t.tags[1], t.hidden)`,
			"table\tx2\tx\tnil\n",
		},
		{"record as argument", `print(lab.app(lab.phone():app("x")))`, "x\n"},
		{"partial list",
			`local l = lab.part(1) print(#l, #l:totable(), #l.skipped, #lab.part(0).skipped)
local s = l.skipped[1] print(s.path, s.code, s.message)`, "1\t1\t1\t0\n/x\taccess_denied\tpermission denied\n"},
		{"partial table",
			`local l = lab.parttable(2) table.sort(l) local n = 0 for _ in pairs(l) do n = n + 1 end
print(l[1], #l, n, type(l), #l.skipped, l.skipped[2].code, #lab.parttable(0), #lab.parttable(0).skipped)`,
			"a\t2\t2\ttable\t2\taccess_denied\t0\t0\n"},
		{
			"list object",
			`local l = lab.list(2) print(#l, l[1].bundle_id) for i, a in ipairs(l) do print(i, a.bundle_id) end print(#l:totable())`,
			"2\ta\n1\ta\n2\tb\n2\n",
		},
		{"close twice", `local d = lab.phone() d:close() d:close() print(d.name)`, "nameless\n"},
		{
			"close ends a loop",
			`local d = lab.phone("p", "a", "b") for l in d do print(l) d:close() end`, "a\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, tc.source)
			if err != nil {
				t.Errorf("the script failed: %v", err)
			}
			if out != tc.want {
				t.Errorf("printed %q, want %q", out, tc.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	const dev = `local dev = lab.phone("p") `
	for _, tc := range []struct{ name, source, code, want string }{
		{
			"unknown option", dev + `dev:launch("x", { argz = {} })`, "argument",
			`bad argument #2 to Phone:launch (unknown option "argz", did you mean "args"? (known: args, count, env, kill, mode, timeout))`,
		},
		{
			"enum", dev + `dev:launch("x", { mode = "hot" })`, "argument",
			`option "mode": "hot" is none of warm, cold`,
		},
		{
			"nested list", dev + `dev:launch("x", { args = { "a", 2 } })`, "argument",
			`option "args": item 2: string expected, got number`,
		},
		{
			"missing", dev + `dev:launch()`, "argument",
			"missing argument #1 to Phone:launch: bundle_id (string)",
		},
		{
			"wrong type", dev + `dev:launch(5)`, "argument",
			"bad argument #1 to Phone:launch (string expected, got number)",
		},
		{
			"dot for colon", dev + `dev.launch("x")`, "argument",
			"use dev:launch(...), not dev.launch(...)",
		},
		{"integer", `lab.i8(1.5)`, "argument", "number has no integer representation"},
		{"range", `lab.i8(128)`, "argument", "number out of range -128 to 127"},
		{"negative", `lab.u64(-1)`, "argument", "must not be negative"},
		{"list", `lab.names{ a = 1 }`, "argument", "list expected, got a table with key a"},
		{"object", `lab.of(lab)`, "argument", "Phone expected, got table"},
		{"wrong object", `lab.of(lab.phone():app("x"))`, "argument", "Phone expected, got App"},
		{
			"method", dev + `dev:lunch("x")`, "no_field",
			`Phone has no member "lunch", did you mean "launch"?`,
		},
		{
			"function", `lab.phon("x")`, "no_field",
			`module lab has no member "phon", did you mean "phone"?`,
		},
		{
			"record field", dev + `print(dev:app("x").bundle)`, "no_field",
			`App has no member "bundle"`,
		},
		{
			"hidden record field", dev + `print(dev:app("x").Hidden)`, "no_field",
			"App has no member",
		},
		{"record method", dev + `dev:app("x"):Secret()`, "no_field", "App has no member"},
		{"record write", dev + `dev:app("x").size = 1`, "read_only", "App is read-only"},
		{"object write", dev + `dev.name = 1`, "read_only", "Phone is read-only"},
		{
			"closed", dev + `dev:close() dev:launch("x")`, "closed",
			"Phone is closed (closed at test.lua:1)",
		},
		{"closed loop", dev + `dev:close() for l in dev do end`, "closed", "Phone is closed"},
		{"go error", dev + `dev:launch("bad")`, "InvalidService", "no such thing"},
		{"blocked error", dev + `dev:wait()`, "error", "no luck"},
		{"panic", `lab.broken{}`, "internal", "index out of range"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, tc.source)
			var e *host.Error
			if !errors.As(err, &e) {
				t.Fatalf("error = %v, want a *host.Error; printed %q", err, out)
			}
			if e.Code != tc.code {
				t.Errorf("error = %v, want code %s", err, tc.code)
			}
			if !strings.Contains(e.Message, tc.want) {
				t.Errorf("message = %q, want %q in it", e.Message, tc.want)
			}
		})
	}
}

func TestScopeClosesHandles(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	defer h.Close()
	p := &Phone{name: "p"}
	m := testModule()
	m.Funcs = append(
		m.Funcs,
		api.Function(
			"it",
			"Gives the phone.",
			"",
			func(c *api.Call) api.Opened[*Phone] { return api.Own(c, p) },
		),
	)
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	source := `assert(lab.it() == lab.it()) assert(rawequal(lab.it(), lab.it()))`
	if err := h.Run(context.Background(), "test.lua", source); err != nil {
		t.Fatal(err)
	}
	if !p.closed {
		t.Error("the end of the script left the phone open")
	}
}

// TestOpenThenCancel cancels the task while a function opens a phone. The result of the
// function is lost, but the scope must close the phone.
func TestOpenThenCancel(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	defer h.Close()
	p := &Phone{name: "p"}
	ctx, cancel := context.WithCancel(context.Background())
	m := testModule()
	m.Funcs = append(
		m.Funcs,
		api.Function("open", "Opens the phone.", "", func(c *api.Call) (api.Opened[*Phone], error) {
			return api.Open(c, func(context.Context) (*Phone, error) {
				cancel()
				return p, nil
			})
		}),
	)
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	err := h.Run(ctx, "test.lua", `lab.open() print("not reached")`)
	if host.ExitCode(err) != 130 {
		t.Errorf("Run() = %v, want interrupted", err)
	}
	if !p.closed {
		t.Error("the phone stayed open")
	}
}

// TestCancelledClose cancels the task in close(). The scope must close the phone.
func TestCancelledClose(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	defer h.Close()
	p := &Phone{name: "p"}
	ctx, cancel := context.WithCancel(context.Background())
	m := testModule()
	m.Funcs = append(
		m.Funcs,
		api.Function(
			"it",
			"Gives the phone.",
			"",
			func(c *api.Call) api.Opened[*Phone] { return api.Own(c, p) },
		),
		api.Function("cancel", "Cancels.", "", func(*api.Call) { cancel() }),
	)
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	h.Run(ctx, "test.lua", `local p = lab.it() lab.cancel() p:close()`)
	if !p.closed {
		t.Error("the phone stayed open")
	}
}

// TestBareHandle returns a closable instance that does not belong to a scope.
func TestBareHandle(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	defer h.Close()
	m := testModule()
	m.Funcs = append(
		m.Funcs,
		api.Function("bare", "Gives a phone.", "", func(*api.Call) any { return &Phone{} }),
	)
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	err := h.Run(context.Background(), "test.lua", `lab.bare()`)
	if err == nil {
		t.Fatal("Run() = nil, want an internal error")
	}
	if want := "not opened by api.Open"; !strings.Contains(err.Error(), want) {
		t.Errorf("Run() = %v, want %q in it", err, want)
	}
}

// TestTurns calls a method of one object in several tasks. Only one of them may be in
// the method at a time.
func TestTurns(t *testing.T) {
	t.Parallel()
	var inside, most int
	phone := api.NewClass[*Phone]("Phone", "A phone.")
	phone.Perm = "none"
	phone.Methods = []*api.Func{
		api.Method("read", "Reads.", "n", func(c *api.Call, p *Phone, n int) error {
			inside++
			most = max(most, inside)
			err := c.TryBlock(func(context.Context) error { return nil })
			inside--
			if err == nil && n == 0 {
				return host.Errorf("eof", "the end")
			}
			return err
		}),
		api.Method("call", "Calls back.", "fn", func(c *api.Call, _ *Phone, fn *lua.LFunction) {
			c.Invoke(fn, 0)
		}),
	}
	m := &api.Module{
		Name:    "turns",
		Doc:     "Turns.",
		Global:  true,
		Perm:    "none",
		Classes: []*api.Class{phone},
	}
	m.Funcs = []*api.Func{
		api.Function("phone", "Makes a phone.", "", func(*api.Call) *Phone { return &Phone{} }),
		api.Function("spawn", "Spawns.", "fn", func(c *api.Call, fn *lua.LFunction) api.Values {
			ud := c.L.NewUserData()
			ud.Value = host.Spawn(c.L, "", fn)
			return api.Values{ud}
		}),
		api.Raw("join", "Joins.", "t", func(L *lua.LState) int {
			L.CheckUserData(1).Value.(*host.Task).Join(L, host.NoTimeout)
			return 0
		}),
		api.Raw("cancel", "Cancels.", "t", func(L *lua.LState) int {
			L.CheckUserData(1).Value.(*host.Task).Cancel("enough")
			return 0
		}),
	}
	h := host.New(host.Options{})
	defer h.Close()
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	err := h.Run(context.Background(), "test.lua", `
local p, list, done = turns.phone(), {}, 0
for i = 1, 8 do
  list[i] = turns.spawn(function()
    for j = 1, 50 do pcall(p.read, p, (i + j) % 3) end
    done = done + 1
  end)
end
turns.cancel(list[3])
turns.cancel(list[8])
for _, t in ipairs(list) do pcall(turns.join, t) end
assert(done == 6, done)
-- The task that has the turn may call further methods.
p:call(function() p:read(1) end)
-- A task waits for an object that another task uses.
local stuck
stuck = turns.spawn(function() p:call(function() turns.join(turns.spawn(function() p:read(1) end)) end) end)
local ok, e = pcall(turns.join, stuck)
assert(not ok and e.code == "deadlock", tostring(e))`)
	if err != nil {
		t.Fatal(err)
	}
	if most != 1 {
		t.Errorf("%d tasks were in the object at once, want 1", most)
	}
}

// TestAccess calls a function with every kind of parameter that has an access.
func TestAccess(t *testing.T) {
	t.Parallel()
	type options struct {
		To   string   `lua:"to" doc:"x" access:"write"`
		More []string `lua:"more" doc:"x" access:"read"`
	}
	var asked []string
	called := false
	h := host.New(host.Options{Allow: func(a host.Access, value string) error {
		asked = append(asked, string(a)+" "+value)
		if strings.Contains(value, "secret") {
			return host.Errorf("permission", "no %s", value).WithHint("--allow-%s=%s", a, value)
		}
		return nil
	}})
	defer h.Close()
	m := &api.Module{Name: "m", Doc: "M.", Global: true, Perm: "none"}
	m.Funcs = []*api.Func{
		api.Function(
			"copy",
			"Copies.",
			"from opts?",
			func(c *api.Call, from *string, o options) error {
				called = true
				return c.Allow(host.AccessHost, "example.org:80")
			},
			api.Access("from", host.AccessRead),
		),
	}
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	run := func(source string) error { return h.Run(context.Background(), "test.lua", source) }
	if err := run(`m.copy("a", { to = "b", more = { "c", "d" } })`); err != nil {
		t.Fatal(err)
	}
	want := "read a|write b|read c|read d|net example.org:80"
	if got := strings.Join(asked, "|"); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	for _, source := range []string{
		`m.copy("secret")`, `m.copy("a", { to = "secret" })`,
		`m.copy("a", { more = { "secret" } })`,
	} {
		called = false
		err := run(source)
		var e *host.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s = %v, want a *host.Error", source, err)
		}
		if e.Code != "permission" {
			t.Errorf("%s = %v, want code permission", source, err)
		}
		if e.Hint == "" {
			t.Errorf("%s: the error has no hint", source)
		}
		if called {
			t.Errorf("%s called the function without permission", source)
		}
	}
}
