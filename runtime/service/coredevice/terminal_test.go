package coredevice

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

func wantText(t *testing.T, term *Terminal, want string) {
	t.Helper()
	var got strings.Builder
	buf := make([]byte, 100)
	for got.Len() < len(want) {
		n, err := term.Read(t.Context(), buf)
		if err != nil {
			t.Fatalf("Read = %v after %q, want %q", err, link.Clip(got.String()), link.Clip(want))
		}
		got.Write(buf[:n])
	}
	if got.String() != want {
		t.Fatalf("terminal shows %q, want %q", link.Clip(got.String()), link.Clip(want))
	}
}

func wantEnd(t *testing.T, term *Terminal) {
	t.Helper()
	for range 2 {
		n, err := term.Read(t.Context(), make([]byte, 10))
		if n != 0 {
			t.Errorf("Read = %d bytes, want none", n)
		}
		if err != io.EOF {
			t.Errorf("Read: %v, want io.EOF", err)
		}
	}
}

// terminals returns the number of open terminals.
func (r *rig) terminals() int {
	r.dev.terminals.mu.Lock()
	defer r.dev.terminals.mu.Unlock()
	return len(r.dev.terminals.byID)
}

// TestTerminal uses two connections: an app is launched on one of them, and its output
// arrives on the other.
func TestTerminal(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		term, err := OpenTerminal(ctx, r)
		r.check(err)
		defer term.Close()
		other, err := OpenTerminal(ctx, r)
		r.check(err)
		defer other.Close()
		if term.ID == other.ID {
			t.Errorf("both terminals have the identifier %v", term.ID)
		}
		if term.ID == (xpc.UUID{}) {
			t.Error("the identifier is all zeros")
		}
		_, err = term.Write(ctx, []byte("early\nhalf a "))
		r.check(err)
		p, err := a.Launch(ctx, "com.example.shop",
			LaunchOptions{Args: []string{"-x"}, Env: map[string]string{"A": "b"}, Terminal: term})
		r.check(err)
		q, err := a.Launch(ctx, "com.example.reader", LaunchOptions{Terminal: other})
		r.check(err)
		wantText(t, term,
			"ShopDemo: launched with 1 arguments\nShopDemo: argument 1: -x\nShopDemo: environment A=b\nShopDemo: read early\n")
		r.check(r.phone.Processes.Print(q.PID, "to the other\n"))
		r.check(r.phone.Processes.Print(p.PID, "hello\n"))
		wantText(t, term, "hello\n")
		wantText(t, other, "Reader: launched with 0 arguments\nto the other\n")
		_, err = term.Write(ctx, []byte("line\nlast"))
		r.check(err)
		wantText(t, term, "ShopDemo: read half a line\n")
		// When the app ends, its terminal closes, but not the other terminal.
		_, err = a.Signal(ctx, p.PID, processes.SIGKILL)
		r.check(err)
		wantEnd(t, term)
		r.check(r.phone.Processes.Print(q.PID, "still here\n"))
		wantText(t, other, "still here\n")
		// When the host closes the terminal, the app continues to run.
		other.Close()
		synctest.Wait()
		if _, ok := r.phone.Processes.Find(q.PID); !ok {
			t.Error("the app has ended with its terminal")
		}
	})
}

// TestTerminalTaken launches apps with terminals that are already taken or stay free.
func TestTerminalTaken(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		term, err := OpenTerminal(ctx, r)
		r.check(err)
		defer term.Close()
		// A failed launch leaves the terminal free. So does the launch of an app that
		// already runs, because the app keeps its input and output.
		if _, err := a.Launch(ctx, "com.example.nothere",
			LaunchOptions{Terminal: term}); err == nil {
			t.Error("an app that is not there was launched")
		}
		notes, err := a.Launch(ctx, "com.example.notes", LaunchOptions{Terminal: term})
		r.check(err)
		r.check(r.phone.Processes.Print(notes.PID, "not for the terminal\n"))
		p, err := a.Launch(ctx, "com.example.shop", LaunchOptions{Terminal: term, Suspended: true})
		r.check(err)
		_, err = term.Write(ctx, []byte("typed\n"))
		r.check(err)
		synctest.Wait()
		_, err = a.Signal(ctx, p.PID, processes.SIGCONT)
		r.check(err)
		wantText(t, term, "ShopDemo: launched with 0 arguments\nShopDemo: read typed\n")
		// A terminal serves one app.
		_, err = a.Launch(ctx, "com.example.reader", LaunchOptions{Terminal: term})
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("Launch: %v is not an *Error", err)
		}
		if e.Domain != DomainAction {
			t.Errorf("Launch: domain %q, want %q", e.Domain, DomainAction)
		}
		if !strings.Contains(e.Description, term.ID.String()) {
			t.Errorf("Launch: %q does not name the terminal %v", e.Description, term.ID)
		}
		if _, ok := r.phone.Processes.OfApp("com.example.reader"); ok {
			t.Error("the refused app runs")
		}
		// With TerminateExisting a new terminal replaces the old one.
		fresh, err := OpenTerminal(ctx, r)
		r.check(err)
		defer fresh.Close()
		_, err = a.Launch(ctx, "com.example.shop",
			LaunchOptions{Terminal: fresh, TerminateExisting: true})
		r.check(err)
		wantEnd(t, term)
		wantText(t, fresh, "ShopDemo: launched with 0 arguments\n")
	})
}

// TestTerminalApart connects input, output and errors to three different terminals.
func TestTerminalApart(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		var terms [3]*Terminal
		for i := range terms {
			var err error
			terms[i], err = OpenTerminal(ctx, r)
			r.check(err)
			defer terms[i].Close()
		}
		in := func(ids ...xpc.Pair) xpc.Dict {
			return xpc.Dict{{Key: keySpecifier, Value: xpc.Dict{
				{Key: keyBundleID, Value: xpc.Dict{{Key: "_0", Value: "com.example.shop"}}},
			}},
				{Key: keyOptions, Value: xpc.Dict{{Key: keyTerminate, Value: true}}},
				{Key: keyStandardIO, Value: xpc.Dict(ids)}}
		}
		for _, bad := range []any{"no uuid", int64(1), xpc.UUID{1}} {
			_, err := a.Invoke(ctx, featLaunch, in(xpc.Pair{Key: keyStandardIn, Value: terms[0].ID},
				xpc.Pair{Key: keyStandardOut, Value: bad}))
			e := (*Error)(nil)
			if !errors.As(err, &e) {
				t.Errorf("%v: %v, want an *Error", bad, err)
			} else if e.Domain == "" {
				t.Errorf("%v: %v has no domain", bad, err)
			}
		}
		// Identifiers in text form are accepted too.
		_, err := a.Invoke(ctx, featLaunch, in(xpc.Pair{
			Key: keyStandardIn, Value: terms[0].ID.String(),
		},
			xpc.Pair{Key: keyStandardOut, Value: terms[1].ID},
			xpc.Pair{Key: keyStandardErr, Value: terms[2].ID}))
		r.check(err)
		_, err = terms[1].Write(ctx, []byte("nobody reads this\n"))
		r.check(err)
		_, err = terms[0].Write(ctx, []byte("typed\n"))
		r.check(err)
		wantText(t, terms[1], "ShopDemo: launched with 0 arguments\nShopDemo: read typed\n")
		r.check(a.Uninstall(ctx, "com.example.shop"))
		for _, term := range terms {
			wantEnd(t, term)
		}
	})
}

// TestTerminalHangUp uses hosts that disconnect at different times.
func TestTerminalHangUp(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		a := r.apps()
		// The host disconnects before it reads anything and before a launch.
		c, err := r.Open(ctx, OpenStdIOSocket)
		r.check(err)
		c.Close()
		term, err := OpenTerminal(ctx, r)
		r.check(err)
		term.Close()
		synctest.Wait()
		if n := r.terminals(); n != 0 {
			t.Errorf("%d terminals are left", n)
		}
		if _, err := a.Launch(ctx, "com.example.shop", LaunchOptions{Terminal: term}); err == nil {
			t.Error("launched with a terminal that is gone")
		}
		_, err = term.Read(ctx, make([]byte, 1))
		if err == nil {
			t.Error("Read of a terminal that is gone: no error")
		}
		if err == io.EOF {
			t.Error("Read of a terminal that is gone: io.EOF, want another error")
		}
		if _, err := term.Write(ctx, []byte("x")); !errors.Is(err, io.ErrClosedPipe) &&
			!errors.Is(err, net.ErrClosed) {
			t.Errorf("Write = %v", err)
		}
		// The host sends input without end to a terminal without an app.
		term, err = OpenTerminal(ctx, r)
		r.check(err)
		_, err = term.Write(ctx, []byte(strings.Repeat("x", 3*maxTyped)))
		r.check(err)
		synctest.Wait() // all input has arrived
		p, err := a.Launch(ctx, "com.example.shop", LaunchOptions{Terminal: term})
		r.check(err)
		wantText(t, term, "ShopDemo: launched with 0 arguments\n"+
			strings.Repeat("ShopDemo: read "+strings.Repeat("x", maxLine)+"\n", maxTyped/maxLine))
		// The host does not disconnect when the app ends.
		_, err = a.Signal(ctx, p.PID, processes.SIGTERM)
		r.check(err)
		wantEnd(t, term)
		begin := time.Now()
		for r.terminals() > 0 {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if time.Since(begin) > 2*hangUpTimeout {
			t.Errorf("the device waited for %v", time.Since(begin))
		}
	})
}

func TestTerminalLimit(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		var list terminals
		for range maxTerminals {
			if _, err := list.open(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := list.open(); err == nil {
			t.Error("no limit")
		}
		r.dev.terminals.byID = list.byID
		c, d := linktest.Pipe()
		defer c.Close()
		if err := r.dev.Handler(OpenStdIOSocket).Serve(t.Context(), d); err == nil {
			t.Error("Serve has no error")
		}
	})
}

func TestNewTerminal(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		c, d := linktest.Pipe()
		if _, err := d.Write(make([]byte, 15)); err != nil {
			t.Fatal(err)
		}
		d.Close()
		none, err := NewTerminal(t.Context(), c)
		if none != nil {
			t.Errorf("NewTerminal = %v beside an error", none)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("NewTerminal: %v, want io.ErrUnexpectedEOF", err)
		}
		c, d = linktest.Pipe()
		defer d.Close()
		none, err = NewTerminal(t.Context(), c)
		if none != nil {
			t.Errorf("NewTerminal = %v beside an error", none)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("NewTerminal: %v, want DeadlineExceeded", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		c, served := servicetest.Dial(ctx, t, (&Device{}).Handler(OpenStdIOSocket))
		term, err := NewTerminal(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
		brief, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := term.Read(brief, make([]byte, 1)); err != io.EOF {
			t.Errorf("Read = %v", err)
		}
	})
}
