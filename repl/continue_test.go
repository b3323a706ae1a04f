package repl

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// The tests of this file run inputs that fail or are interrupted. The next input must
// run and print its result, and background tasks must continue.

// background is an input that starts a task. The task doubles each number in the queue
// ask and puts it into the queue answer.
const background = `
ask, answer = task.queue(1), task.queue(1)
task.spawn(function()
	for n in function() return ask:get() end do
		answer:put(n * 2)
	end
end)`

// asked is an input that uses the task of background.
const asked = `ask:put(21) print("the task says " .. answer:get())`

func TestGoesOn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		inputs []string
		want   []string // in this order
	}{
		{"memory", []string{
			`t = {} while true do t[#t + 1] = ("x"):rep(1000) end`,
			"#t > 1000", "t = nil", "1 + 1",
		}, []string{"error[memory]", "--max-memory", "true\n", "2\n"}},
		{"memory of a local", []string{
			`do local l = {} while true do l[#l + 1] = ("x"):rep(1000) end end`, "1 + 1",
		}, []string{"error[memory]", "2\n"}},
		{"memory while something is shown", []string{
			`setmetatable({}, { __tostring = function() return ("x"):rep(1e9) end })`, "1 + 1",
		}, []string{"error in __tostring", "2\n"}},
		{"one Ctrl-C", []string{
			`scope(function()
				defer(function() print("cleaned") end)
				ctrl_c(1)
				task.sleep(1000)
			end)`, "1 + 1",
		}, []string{"cleaned\n", "error[interrupted]", "2\n"}},
		{"two Ctrl-C", []string{
			`scope(function()
				defer(function() print("slow") ctrl_c(1) task.sleep(1000) print("not this") end)
				ctrl_c(1)
				task.sleep(1000)
			end)`, "1 + 1",
		}, []string{"slow\n", "error[interrupted]", "2\n"}},
		{"two Ctrl-C in a busy defer", []string{
			`scope(function()
				defer(function() print("slow") ctrl_c(1) while true do end end)
				ctrl_c(1)
				while true do end
			end)`, "1 + 1",
		}, []string{"slow\n", "error[interrupted]", "2\n"}},
		{"two Ctrl-C twice", []string{
			`function stubborn()
				scope(function()
					defer(function() print("slow") ctrl_c(1) task.sleep(1000) end)
					ctrl_c(1)
					task.sleep(1000)
				end)
			end`, "stubborn()", "stubborn()", "1 + 1",
		}, []string{"slow\n", "error[interrupted]", "slow\n", "error[interrupted]", "2\n"}},
		{"clean-up after two Ctrl-C", []string{
			`scope(function()
				defer(function() ctrl_c(1) task.sleep(1000) end)
				ctrl_c(1)
				task.sleep(1000)
			end)`,
			`scope(function()
				defer(function() task.sleep(0.001) print("cleaned") end)
				ctrl_c(1)
				task.sleep(1000)
			end)`,
		}, []string{"error[interrupted]", "cleaned\n", "error[interrupted]"}},
		{"error in a defer", []string{
			`scope(function() defer(function() error("in a defer") end) end)`, "1 + 1",
		}, []string{"in a defer", "2\n"}},
		{"errors in an input and its defer", []string{
			`scope(function() defer(function() error("second") end) error("first") end)`, "1 + 1",
		}, []string{"first", "also, while closing: ", "second", "2\n"}},
		{"error in a task", []string{
			`w = task.spawn(function() error("in a task") end) task.sleep(0.01)`, "1 + 1",
		}, []string{"in a task", "2\n"}},
		{"instructions", []string{"while true do end", "1 + 1"},
			[]string{"error[instructions]", "error[instructions]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inputs := append([]string{background}, test.inputs...)
			o := host.Options{MaxMemory: 64 << 20}
			want := append(test.want, "the task says 42\n")
			if test.name == "instructions" {
				// The limit is for the whole run, so no later input can run.
				o.MaxInstructions, want = 100_000, test.want
				inputs = test.inputs
			}
			b := newBenchWith(t, o, type_(append(inputs, asked)...)...)
			b.interruptible()
			if err := b.run(t); err != nil {
				t.Fatalf("Run: %v", err)
			}
			wantInOrder(t, b.out.String(), want)
			if strings.Contains(b.out.String(), "not this") {
				t.Errorf("clean-up continued after the second interrupt:\n%s", b.out)
			}
		})
	}
}

// wantInOrder checks that text contains all parts in their order.
func wantInOrder(t *testing.T, text string, parts []string) {
	t.Helper()
	rest := text
	for _, want := range parts {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("printed\n%s\nwant %q in it, in the order of %q", text, want, parts)
		}
		rest = after
	}
}

// TestCloseFails fails in a deferred function at the end of the whole run.
func TestCloseFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("defer(function() error('too late') end)", "1 + 1")...)
	err := b.run(t)
	if err == nil {
		t.Fatal("Run = nil, want the error of the deferred function")
	}
	if !strings.Contains(err.Error(), "too late") {
		t.Errorf("Run = %v, want the error of the deferred function", err)
	}
	wantInOrder(t, b.out.String(), []string{"2\n", "too late"})
	if n := strings.Count(b.out.String(), "error["); n != 1 {
		t.Errorf("%d errors were reported, want one:\n%s", n, b.out)
	}
}

// TestCloseKilled interrupts the clean-up at the end of the run three times.
func TestCloseKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("defer(function() ctrl_c(3) task.sleep(1) end)")...)
	b.interruptible()
	if err := b.run(t); !errors.Is(err, ErrKilled) {
		t.Errorf("Run = %v, want ErrKilled", err)
	}
}

// TestKillStopsWaiting interrupts :kill while it waits for a task that does not end.
func TestKillStopsWaiting(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("hold = task.queue(1)", `t = task.spawn(function()
		defer(function() ctrl_c(1) hold:get() print("cleaned") end)
		task.sleep(1000)
	end)`)...)
	b.interruptible()
	b.editor.steps = append(b.editor.steps, step{before: func() {
		tasks := b.host.Tasks()
		kill := type_(":kill " + strconv.Itoa(tasks[0].ID()))
		b.editor.steps = append(kill, b.editor.steps...)
	}})
	b.editor.steps = append(b.editor.steps, type_("hold:put(1)", "1 + 1")...)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	wantInOrder(t, b.out.String(), []string{"goes on with its clean-up\n", "2\n"})
	wantInOrder(t, b.out.String(), []string{"goes on with its clean-up\n", "cleaned\n"})
}

// TestInterruptShowing prints a value whose __tostring does not return. Only the third
// Ctrl-C can end the REPL.
func TestInterruptShowing(t *testing.T) {
	t.Parallel()
	b := newBench(t, type_("stuck", "1 + 1")...)
	b.interruptible()
	release := make(chan struct{})
	if err := b.host.With(b.stuckValue(release)); err != nil {
		t.Fatal(err)
	}
	err := b.run(t)
	close(release)
	if !errors.Is(err, ErrKilled) {
		t.Errorf("Run = %v, want ErrKilled", err)
	}
}
