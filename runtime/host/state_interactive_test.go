package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	lua "github.com/yuin/gopher-lua"
)

func TestSession(t *testing.T) {
	t.Parallel()
	var out hosttest.Buffer
	h := host.New(host.Options{Stdout: &out})
	kit(h)
	ctx := context.Background()
	s := h.Interactive(ctx)
	eval := func(src string) string {
		res, err := s.Eval(ctx, "stdin", src)
		if err != nil {
			return "error: " + err.Error()
		}
		var b []string
		for _, v := range res {
			b = append(b, v.String())
		}
		return strings.Join(b, " ")
	}
	for _, test := range []struct{ src, want string }{
		{"x = 1 resource('r')", ""},
		{"return x, x + 1", "1 2"},
		{"return zzzzz", "error: stdin:1: undefined global 'zzzzz' (undefined)"},
		{"error('again')", "error: stdin:1: again"},
		{"w = spawn(function() block() block() return 'worker' end)", ""},
		{"return join(w)", "worker"},
		{
			"return panics()",
			"error: stdin:1: internal error: runtime error: invalid memory address or nil pointer dereference (internal)",
		},
		{"return x", "1"},
	} {
		if got := eval(test.src); got != test.want {
			t.Errorf("Eval(%q) = %q, want %q", test.src, got, test.want)
		}
	}
	if _, err := s.Eval(ctx, "stdin", "for i = 1, 3 do"); !host.Incomplete(err) {
		t.Errorf("Incomplete(%v) = false, want true", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Eval(cancelled, "stdin", "while true do end"); host.ExitCode(err) != 130 {
		t.Errorf("Eval under a cancelled context = %v, want interrupted", err)
	}
	if got := eval("return 'goes on'"); got != "goes on" {
		t.Errorf("after the interrupt: %q", got)
	}
	var seen string
	ran := s.TryWith(time.Minute, func(L *lua.LState) {
		seen = host.ToString(L, L.GetGlobal("x"))
	})
	if !ran {
		t.Error("TryWith() = false, want true")
	}
	if seen != "1" {
		t.Errorf("TryWith saw x = %q, want 1", seen)
	}
	s.Close()
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if out.String() != "close r (<nil>)\n" {
		t.Errorf("printed %q, want the resource closed", out.String())
	}
	if got := eval("return 1"); !strings.Contains(got, "closed") {
		t.Errorf("Eval after Close = %q", got)
	}
	h.Close()
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out})
	for i := range 3 {
		if err := h.Run(context.Background(), "a.lua", fmt.Sprintf("print(%d)", i)); err != nil {
			t.Fatal(err)
		}
	}
	h.Close()
	h.Close()
	if out.String() != "0\n1\n2\n" {
		t.Errorf("printed %q", out.String())
	}
	if err := h.Run(context.Background(), "a.lua", "print(1)"); err == nil {
		t.Error("Run on a closed host = nil, want an error")
	}
}

// TestCloseEndsInteractive closes the host of an Interactive while an input runs.
func TestCloseEndsInteractive(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	kit(h)
	running := make(chan struct{})
	h.SetGlobal("ready", h.L().NewFunction(func(*lua.LState) int { close(running); return 0 }))
	s := h.Interactive(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := s.Eval(context.Background(), "stdin", "ready() while true do end")
		done <- err
	}()
	<-running
	if err := h.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := <-done; !errors.Is(err, &host.Error{Code: "cancelled"}) {
		t.Errorf("Eval() = %v, want code cancelled", err)
	}
}
