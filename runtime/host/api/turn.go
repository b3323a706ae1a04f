package api

import (
	"reflect"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Turn lets one task at a time use an object. A Go type whose methods share
// state while they wait (a buffer, a position in a file) embeds it; the methods
// of its class and its for loop then take turns by themselves. A class with next
// or read must embed a Turn or be Shared.
type Turn struct {
	owner   *host.Task
	depth   int
	waiting []*host.Waiter
}

type turner interface{ turn() *Turn }

func (t *Turn) turn() *Turn { return t }

var typeTurner = reflect.TypeFor[turner]()

// enter waits until no other task uses the object. The lock is held.
func (t *Turn) enter(L *lua.LState, f *Func) {
	task := host.CurrentTask(L)
	if t.owner == task {
		t.depth++
		return
	}
	for t.owner != nil {
		w := host.NewWaiter(L)
		t.waiting = append(t.waiting, w)
		t.wait(L, w, f.FullName())
	}
	t.owner, t.depth = task, 1
}

// wait waits for w, and hands its turn on if the task is cancelled.
func (t *Turn) wait(L *lua.LState, w *host.Waiter, what string) {
	settled := false
	defer func() {
		if settled {
			return
		}
		if i := slices.Index(t.waiting, w); i >= 0 {
			t.waiting = slices.Delete(t.waiting, i, i+1)
		} else if t.owner == nil {
			t.next()
		}
	}()
	w.Wait(L, "the turn of "+what, host.NoTimeout)
	settled = true
}

// leave gives the turn to the task that waits longest.
func (t *Turn) leave() {
	if t.depth--; t.depth > 0 {
		return
	}
	t.owner = nil
	t.next()
}

func (t *Turn) next() {
	if len(t.waiting) == 0 {
		return
	}
	w := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	w.Wake()
}
