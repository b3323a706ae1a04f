package host_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib/lua51"
	lua "github.com/yuin/gopher-lua"
)

// kit installs a few functions for the scripts of these tests, such as sleep,
// spawn, join and scope. The real ones are in modules that use the host.
func kit(h *host.Host) {
	lua51.Open(h)
	fns := map[string]lua.LGFunction{
		"sleep": func(L *lua.LState) int {
			d := time.Duration(float64(L.CheckNumber(1)) * float64(time.Second))
			host.WithTimeout(L, -1, func(ctx context.Context) error {
				timer := time.NewTimer(d)
				defer timer.Stop()
				select {
				case <-timer.C:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			return 0
		},
		// block releases the lock once and returns its arguments.
		"block": func(L *lua.LState) int {
			host.Block(L, func(context.Context) error { return nil })
			return L.GetTop()
		},
		"fail": func(L *lua.LState) int {
			text := L.CheckString(1)
			host.Block(L, func(context.Context) error { return errors.New(text) })
			return 0
		},
		"spawn": func(L *lua.LState) int {
			var args []lua.LValue
			for i := 2; i <= L.GetTop(); i++ {
				args = append(args, L.Get(i))
			}
			ud := L.NewUserData()
			ud.Value = host.Spawn(L, "", L.CheckFunction(1), args...)
			L.Push(ud)
			return 1
		},
		"join": func(L *lua.LState) int {
			d := host.NoTimeout
			if s, ok := L.Get(2).(lua.LNumber); ok {
				d = time.Duration(float64(s) * float64(time.Second))
			}
			res := taskAt(L).Join(L, d)
			for _, v := range res {
				L.Push(v)
			}
			return len(res)
		},
		"cancel": func(L *lua.LState) int { taskAt(L).Cancel(L.OptString(2, "")); return 0 },
		"scope":  func(L *lua.LState) int { return push(L, host.RunScope(L, L.CheckFunction(1))) },
		"atomic": func(L *lua.LState) int { return push(L, host.Atomic(L, L.CheckFunction(1))) },
		"defer": func(L *lua.LState) int {
			host.CurrentScope(L).Defer(L.CheckFunction(1))
			return 0
		},
	}
	install(h, fns)
	install(h, misbehaviour)
}

func install(h *host.Host, fns map[string]lua.LGFunction) {
	for name, f := range fns {
		h.SetGlobal(name, h.L().NewFunction(f))
	}
}

func taskAt(L *lua.LState) *host.Task { return L.CheckUserData(1).Value.(*host.Task) }

func push(L *lua.LState, res []lua.LValue) int {
	for _, v := range res {
		L.Push(v)
	}
	return len(res)
}

func run(t testing.TB, source string, opts ...hosttest.Option) hosttest.Result {
	t.Helper()
	return hosttest.Run(t, source, append([]hosttest.Option{hosttest.Setup(kit)}, opts...)...)
}

// expect runs source and compares what it prints.
func expect(t *testing.T, source, want string, opts ...hosttest.Option) {
	t.Helper()
	if got := run(t, source, opts...).NoError(t).Stdout; got != want {
		t.Errorf("script:\n%s\nprinted %q, want %q", source, got, want)
	}
}

// misbehaviour holds functions that wait, open resources and panic.
var misbehaviour = map[string]lua.LGFunction{
	"timeout": func(L *lua.LState) int {
		d := time.Duration(float64(L.CheckNumber(1)) * float64(time.Second))
		return push(L, host.WithDeadline(L, time.Now().Add(d), L.CheckFunction(2)))
	},
	// resource makes something that prints when it is closed.
	"resource": func(L *lua.LState) int {
		name, w := L.CheckString(1), host.Of(L).Stdout()
		host.CurrentScope(L).Add(host.CloserFunc(func(ctx context.Context) error {
			fmt.Fprintf(w, "close %s (%v)\n", name, ctx.Err())
			return nil
		}))
		return 0
	},
	"forever": func(L *lua.LState) int {
		host.NewWaiter(L).Wait(L, "forever", host.NoTimeout)
		return 0
	},
	"panics": func(L *lua.LState) int { host.Options{}.Env(""); return 0 },
	"panics_block": func(L *lua.LState) int {
		host.Block(L, func(context.Context) error { panic("oops") })
		return 0
	},
}
