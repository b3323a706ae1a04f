package stdlib_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/host"
)

const termSource = "local term = require('imd.term')\n"

// TestTermTable prints tables.
func TestTermTable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"records", `term.table{ { name = "Ana", age = 7 }, { name = "Bo", town = "X" } }`,
			"name  age  town\n----  ---  ----\nAna     7\nBo         X"},
		{"lists", `term.table{ { "a", 1 }, { "bcd", 22, true } }`,
			"a     1\nbcd  22  true"},
		{"titles of lists", `term.table({ { "a", 1 } }, { columns = { "letter", "n" } })`,
			"letter  n\n------  -\na       1"},
		{"chosen columns", `term.table({ { a = 1, b = 2 } },
			{ columns = { { name = "b", title = "B", align = "left", width = 9 }, "a" } })`,
			"B  a\n-  -\n2  1"},
		{"no header", `term.table({ { a = 1 } }, { columns = { "a" }, header = false })`, "1"},
		{"align", `term.table({ { "ab", "ab" }, { "abcdef", "abcdef" } }, { header = false,
			columns = { { name = "x", align = "center" }, { name = "y", align = "right" } } })`,
			"  ab        ab\nabcdef  abcdef"},
		{"wide characters", `term.table{ { "日本", "x" }, { "abc", "y" } }`, "日本  x\nabc   y"},
		{"cut", `term.table({ { "abcdefghij", "日本語日本語" } }, { width = 14 })`,
			"abcde~  日本~"},
		{"cut colours", `term.table({ { "\27[31mabcdef\27[0m", 1 } }, { width = 7 })`,
			"\x1b[31mabc\x1b[0m~  1"},
		{"control characters", `term.table{ { "a\nb\27[2Jc", null, "x" } }`, `a b\x1b[2Jc    x`},
		{"column width",
			`term.table({ { a = "abcdef" } }, { columns = { { name = "a", width = 4 } } })`,
			"a\n----\nabc~"},
		{"records of the host", `term.table({ fs.stat(fs.cwd()) }, { columns = { "kind" } })`,
			"kind\n---------\ndirectory"},
		{"nothing", `term.table{}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, termSource+"print('|' .. "+tc.source+" .. '|')", "|"+tc.want+"|\n")
		})
	}
}

func TestTermErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, text string }{
		{`term.table(1)`, "argument", "table expected"},
		{`term.table{ 1 }`, "argument", "row 1"},
		{`term.table({ { a = 1 } }, { colums = {} })`, "argument", "columns"},
		{`term.table({ { a = 1 } }, { columns = { { nam = "a" } } })`, "argument", "item 1"},
		{`term.table({ { a = 1 } }, { width = 0 })`, "argument", "width"},
		{`term.table({ fs.stat(fs.cwd()) }, { columns = { "knd" } })`, "no_field", "kind"},
		{`term.bar{ total = -1 }`, "argument", "total"},
		{`term.bar{ unit = "mb" }`, "argument", "unit"},
		{`term.bar():update(0/0)`, "argument", "finite"},
		{`local b = term.bar() b:close() b:add()`, "closed", "ProgressBar"},
		{`term.style("x", { color = "rot" })`, "argument", "red"},
		{`term.is_tty("in")`, "argument", "stdin"},
		{`term.confirm("sure?")`, "no_terminal", "sure?"},
		{`term.choose("which?", { "a" })`, "no_terminal", "which?"},
		{`term.choose("which?", {}, { default = 1 })`, "argument", "list"},
		{`term.choose("which?", { "a" }, { default = "b" })`, "argument", "not in the list"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, termSource+tc.source, tc.code, tc.text)
		})
	}
}

// TestTermQuiet uses the module without a terminal.
func TestTermQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		h := newHost(t, host.Options{Stdout: &out, Stderr: &errs})
		err := h.Run(t.Context(), "test.lua", termSource+`
local bar = term.bar{ total = 4, label = "items" }
for i = 1, 4 do bar:add() task.sleep(1) end
bar:finish()
bar:finish("again")
local bytes = term.bar{ unit = "bytes" }
bytes:update(1536)
task.sleep(2)
bytes:finish("copied")
scope(function() term.bar{ label = "never finished" }:add() end)
local spinner = term.spinner("waiting")
task.sleep(75)
spinner:finish("ready")
print(term.red("x"), term.width(), term.is_tty(), term.confirm("?", { default = true }))
print(term.choose("?", { "a", "b" }, { default = "b" }))`)
		if err != nil {
			t.Fatal(err)
		}
		want := "items 4 in 4.0s (1/s)\ncopied 1.5 KiB in 2.0s (768 B/s)\nready (1:15)\n"
		if errs.String() != want {
			t.Errorf("standard error is %q, want %q", errs.String(), want)
		}
		if want := "x\t80\tfalse\ttrue\nb\t2\n"; out.String() != want {
			t.Errorf("standard output is %q, want %q", out.String(), want)
		}
	})
}

// onTerminal runs a script on a terminal and types input.
func onTerminal(t *testing.T, input io.Reader, source string) (shown string, err error) {
	t.Helper()
	var out bytes.Buffer
	h := newHost(t, host.Options{
		Stdin: input, Stdout: &out, Stderr: &out,
		Terminal: host.Terminal{
			Stdin: true, Stdout: true, Stderr: true, Color: true,
			Width: func() int { return 50 },
		},
	})
	err = h.Run(t.Context(), "test.lua", termSource+source)
	return out.String(), err
}

func TestTermQuestions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, typed, source, want string }{
		{"yes", "Yes\n", `print(term.confirm("sure?"))`, "sure? [y/n] true\n"},
		{"default", "\n", `print(term.confirm("sure?", { default = true }))`, "sure? [Y/n] true\n"},
		{"not the default", "n\n", `print(term.confirm("sure?", { default = true }))`,
			"sure? [Y/n] false\n"},
		{"asked again", "maybe\n\nno\n", `print(term.confirm("sure?"))`,
			"sure? [y/n] Please answer y or n: Please answer y or n: false\n"},
		{"shared with io.read", "first\ny\nlast\n",
			`print(io.read(), term.confirm("sure?"), io.read())`,
			"sure? [y/n] first\ttrue\tlast\n"},
		{"number", "3\n2\n", `print(term.choose("which?", { "a", "b" }))`,
			"which?\n   1) a\n   2) b\nNumber (1-2): " +
				"Please answer with a number from 1 to 2: b\t2\n"},
		{"text", "b\n", `print(term.choose("which?", { "a", "b" }, { default = "a" }))`,
			"which?\n   1) a\n   2) b\nNumber (1-2) [1]: b\t2\n"},
		{"end of the input", "", `print(term.confirm("sure?", { default = false }))`,
			"sure? [y/N] \nfalse\n"},
		{"no answer", "", `print(select(2, try(term.confirm, "sure?")).code)`,
			"sure? [y/n] \nno_answer\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := onTerminal(t, strings.NewReader(tc.typed), tc.source)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("the terminal shows %q, want %q", got, tc.want)
			}
		})
	}
}

// TestTermQuestionEnds asks questions that are not answered.
func TestTermQuestionEnds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"timeout", `print(select(2, try(term.confirm, "sure?", { timeout = 2 })).code)`,
			"sure? [y/n] \ntimeout\n"},
		{"at once", `print(term.confirm("sure?", { default = true, timeout = 0 }))`,
			"sure? [Y/n] \ntrue\n"},
		{"time of the task", `print(select(2, try(task.timeout, 1, term.confirm, "sure?")).code)`,
			"sure? [y/n] \ntimeout\n"},
		{"cancelled, with another that waits and prints", `
local first = task.spawn(term.confirm, "first?")
local second = task.spawn(term.confirm, "second?", { default = true, timeout = 9 })
task.sleep(1)
print("held back")
task.sleep(1)
first:cancel()
print(second:join())`, "first? [y/n] \nheld back\nsecond? [Y/n] \ntrue\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe() // nothing is written to it
				defer w.Close()
				got, err := onTerminal(t, r, tc.source)
				if err != nil {
					t.Fatal(err)
				}
				if got != tc.want {
					t.Errorf("the terminal shows %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// TestTermStyle adds styles to texts.
func TestTermStyle(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`term.red("x")`: "\x1b[31mx\x1b[0m",

		`term.style("x", { bold = true, color = "gray", background = "blue" })`: "\x1b[1;90;44mx\x1b[0m",

		`term.red("a" .. term.bold("b") .. "c")`: "\x1b[31ma\x1b[1mb\x1b[0m\x1b[31mc\x1b[0m",
		`term.style("x", {})`:                    "x",
		`term.green("")`:                         "",
	} {
		got, err := onTerminal(t, strings.NewReader(""), "io.write("+source+")")
		if err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s = %q, want %q", source, got, want)
		}
	}
}

// TestTermBar checks the output of a bar on a terminal.
func TestTermBar(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, source string
		want         []string
	}{
		{"total", `
local bar = term.bar{ total = 10, label = "copy", unit = "items" }
task.sleep(2)
bar:update(4)
task.sleep(1)`, []string{"copy [=======>          ]  40% 4/10 1.6/s ETA 0:04"}},
		{"bytes without a total", `
local bar = term.bar{ label = "a label that is too long for the line", unit = "bytes" }
task.sleep(4)
bar:update(2^20)
task.sleep(1)`, []string{"a label that is too long~ 1.0 MiB 213.3 KiB/s 0:05"}},
		{"stalled", `
local bar = term.bar{ total = 4 }
for i = 1, 2 do task.sleep(1) bar:add() end
task.sleep(120)
bar:add(0)
task.sleep(1)`, []string{"[===========>          ]  50% 2/4 "}},
		{"more than all", `
local bar = term.bar{ total = 4 }
bar:update(9)
task.sleep(1)`, []string{"[======================] 100% 9/4"}},
		{"spinner", `
local s = term.spinner("wait")
task.sleep(1)
s:update("go\27[2Jon")
task.sleep(1)`, []string{"| wait 0.0s", "/ wait 0.1s", `go\x1b[2Jon 1.1s`}},
		{"printing", `
local bar = term.bar{ total = 4, label = "x" }
task.sleep(1)
print("hello")
task.sleep(1)
bar:finish()
print("end")`, []string{"\r\x1b[Jhello\n\x1b[?7lx [", "\r\x1b[Jx 0/4 in 2.0s (0/s)\n", "end\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got, err := onTerminal(t, strings.NewReader(""), tc.source)
				if err != nil {
					t.Fatal(err)
				}
				rest := got
				for _, want := range tc.want {
					_, after, ok := strings.Cut(rest, want)
					if !ok {
						t.Fatalf("the terminal got %q, want %q in it", got, want)
					}
					rest = after
				}
				if !strings.HasSuffix(got, "\n") && !strings.HasSuffix(got, host.Erased) {
					t.Errorf("the terminal got %q, which does not end with an empty line", got)
				}
			})
		})
	}
}
