package repl

import (
	"context"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	type want struct {
		insert string
		list   []string // parts of the lines, in order
	}
	b := newBench(t, type_("dev = device();", "prices = { apple = 1, apricot = 2 }",
		"many = {}; for i = 10, 60 do many['key' .. i] = i end",
		"long = { quite_a_long_name = 1 }")...)
	asked := 0
	b.opts.Values = func(_ context.Context, kind string) []string {
		asked++
		if kind != "bundle_id" {
			t.Errorf("asked for %s", kind)
		}
		return []string{"com.apple.Maps", "com.example.shop"}
	}
	for _, test := range []struct {
		line string
		want want
	}{
		{"dev:la", want{insert: "unch"}},
		{"dev.na", want{insert: "me"}},
		{"dev:l", want{list: []string{"launch", "lock"}}},
		{"= dev.ver", want{insert: "sion"}},
		{"prices.a", want{insert: "p"}},
		{"prices.ap", want{list: []string{"apple", "apricot"}}},
		{"x = long.q", want{insert: "uite_a_long_name"}},
		{"many.key", want{list: []string{"key10", "key11"}}},
		{"retu", want{insert: "rn"}},
		{":ta", want{insert: "sks"}},
		{":k", want{insert: "ill"}},
		{":", want{list: []string{"devices", "help"}}},
		{`dev:launch("`, want{insert: "com."}},
		{`dev:launch("com.`, want{list: []string{"com.apple.Maps", "com.example.shop"}}},
		{`dev:launch("com.e`, want{insert: "xample.shop"}},
		{"nothing_like_this", want{}},
		{"", want{list: []string{"and"}}},
	} {
		b.editor.steps = append(b.editor.steps, step{before: func() {
			insert, list := b.editor.complete(test.line+"trailing", len(test.line))
			if insert != test.want.insert {
				t.Errorf("%q inserts %q, want %q", test.line, insert, test.want.insert)
			}
			text := strings.Join(list, "\n")
			for _, part := range test.want.list {
				at := strings.Index(text, part)
				if at < 0 {
					t.Errorf("%q lists %q, want %q in it", test.line, list, part)
					break
				}
				text = text[at:]
			}
			if len(test.want.list) == 0 && len(list) > 0 {
				t.Errorf("%q lists %q, want nothing", test.line, list)
			}
			if slices.ContainsFunc(list, func(l string) bool { return len(l) > 80 }) {
				t.Errorf("%q lists lines that are too long: %q", test.line, list)
			}
		}})
	}
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	if asked != 1 {
		t.Errorf("the device was asked %d times between two inputs, want once", asked)
	}
}

// TestCompleteAcrossLines completes a string whose call began on an earlier line.
func TestCompleteAcrossLines(t *testing.T) {
	t.Parallel()
	b := newBench(t, step{text: "dev = device()"}, step{text: "dev:launch("})
	b.editor.steps = append(b.editor.steps, step{text: `"a")`, before: func() {
		if insert, _ := b.editor.complete(`"x`, 2); insert != "yz" {
			t.Errorf("inserts %q, want yz, the rest of the bundle id", insert)
		}
	}})
	b.opts.Values = func(context.Context, string) []string { return []string{"xyz"} }
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
}

// TestCompleteWhileBusy completes while a task holds the interpreter lock. Completion
// must not wait for it, and must use the declarations.
func TestCompleteWhileBusy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	start, busy, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b.host.SetGlobal("await", b.host.L().NewFunction(func(L *lua.LState) int {
		host.Block(L, func(context.Context) error { <-start; return nil })
		return 0
	}))
	b.host.SetGlobal("compute", b.host.L().NewFunction(func(*lua.LState) int {
		close(busy)
		<-release // with the interpreter lock held
		return 0
	}))
	b.editor.steps = []step{
		{text: "task.spawn(function() await() compute() end);"},
		{before: func() {
			close(start)
			<-busy
			if insert, _ := b.editor.complete("task.spa", 8); insert != "wn" {
				t.Errorf("inserts %q, want wn", insert)
			}
			close(release)
		}},
	}
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
}
