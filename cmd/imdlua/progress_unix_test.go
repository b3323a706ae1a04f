//go:build !windows

package main

import (
	"strings"
	"syscall"
	"testing"
)

const requireTerm = `local term = require("imd.term") `

// TestQuestionAtTerminal answers questions by typing.
func TestQuestionAtTerminal(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "-e", requireTerm+`
		local bar = term.bar{ total = 2, label = "work" }
		bar:add()
		io.read()
		print(term.confirm("go on?"))
		print(term.choose("which?", { "a", "b" }))
		bar:add()
		bar:finish()`)
	s.await(t, "work [")
	s.keys(t, "\r")
	s.await(t, "\r\x1b[Jgo on? [y/n] ")
	s.keys(t, "y\r")
	s.await(t, "y\r\n")
	s.await(t, "true\r\n")
	s.await(t, "Number (1-2): ")
	s.keys(t, "2\r")
	s.await(t, "b\t2\r\n")
	s.await(t, "work 2 in ")
	s.finished(t, 0)
}

// TestQuestionInterrupted presses Ctrl-C at a question.
func TestQuestionInterrupted(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "-e", requireTerm+`
		local spinner = term.spinner("work")
		defer(function() print("clea" .. "ned") end)
		term.confirm("go on?")`)
	s.await(t, "go on? [y/n] ")
	s.keys(t, "half an answer\x03")
	s.await(t, "^C\r\n")
	s.await(t, "cleaned\r\n")
	s.await(t, "error[interrupted]")
	s.finished(t, 130)
}

// TestProgressAtTerminal prints while a bar is shown, and is terminated.
func TestProgressAtTerminal(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "-e", requireTerm+`
		local bar = term.bar{ total = 2, label = "work" }
		io.read()
		print("hel" .. "lo")
		task.sleep(1000)`)
	s.await(t, "work [")
	s.keys(t, "\r")
	s.await(t, "\r\x1b[Jhello\r\n\x1b[?7lwork [")
	s.signal(t, syscall.SIGTERM)
	s.await(t, "\r\x1b[Jerror[terminated]")
	s.finished(t, 143)
}

// TestProgressInREPL leaves a bar open at the end of an input. It must not be drawn over the
// prompt.
func TestProgressInREPL(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "repl")
	s.enter(t, `bar = require("imd.term").bar{ label = "wo" .. "rk" } task.sleep(0.2)`)
	s.await(t, "work 0")
	s.await(t, "\r\x1b[J")
	s.prompt(t)
	from := s.seen
	s.keys(t, "\r")
	s.prompt(t)
	if between := s.out.String()[from:s.seen]; strings.Contains(between, "work") {
		t.Errorf("the prompt shows the bar: %q", between)
	}
	s.keys(t, "\r")
	s.enter(t, `bar:finish("do" .. "ne")`)
	s.await(t, "done 0 in")
	s.leave(t)
}

// TestQuestionInREPL interrupts a question. The prompt must get the next input.
func TestQuestionInREPL(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "repl")
	s.enter(t, `require("imd.term").confirm("go " .. "on?")`)
	s.await(t, "go on? [y/n] ")
	s.keys(t, "\x03")
	s.await(t, "error[interrupted]")
	s.enter(t, `require("imd.term").confirm("and " .. "now?")`)
	s.await(t, "and now? [y/n] ")
	s.keys(t, "yes\r")
	s.await(t, "true\r\n")
	s.leave(t)
}

// TestProgressInPipe runs without a terminal.
func TestProgressInPipe(t *testing.T) {
	t.Parallel()
	p := startProcess(t, command(t, "-e", requireTerm+`
		local bar = term.bar{ total = 2, label = "work" }
		bar:update(2)
		task.sleep(0.2)
		bar:finish("all")
		print(term.confirm("go on?"))`))
	p.want(t, 1)
	errs := p.errs.String()
	if want := "all 2 in 0."; !strings.HasPrefix(errs, want) {
		t.Errorf("standard error is %q, want %q first", errs, want)
	}
	wantIn(t, "the standard error", errs, "error[no_terminal]")
	if strings.Contains(errs, "\x1b") {
		t.Errorf("standard error is %q, want no escapes", errs)
	}
	if out := p.out.String(); out != "" {
		t.Errorf("it printed %q, want nothing", out)
	}
}
