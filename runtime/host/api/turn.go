package api

import (
	"reflect"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Turn lets one task at a time use an object. A Go type embeds it if its methods share
// state while they wait, such as a buffer or a position in a file. The methods of the
// class and its for loop then wait for each other. A class with next or read must
// embed a Turn or set Class.Shared.
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

// wait waits for w. If the task is cancelled after it was woken, the next task gets the
// turn.
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

// leave gives the turn to the task that has waited longest.
func (t *Turn) leave() {
	t.depth--
	if t.depth > 0 {
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
