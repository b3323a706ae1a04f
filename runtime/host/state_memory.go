package host

import (
	"context"
	"fmt"
	"runtime/metrics"
	"sync/atomic"
	"time"
	"unsafe"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/vm"
)

// memoryPeriod is how often the heap is looked at. A script can fill memory
// with few instructions (s = s..s), so that counting those would come too late.
const memoryPeriod = 20 * time.Millisecond

// memory is the guard of a host's soft limit. The heap of the process is cheap
// to read but belongs to all hosts, so it only says when to look: then the
// values that this host can reach are measured, and they decide.
type memory struct {
	due atomic.Bool // the next instruction must measure
	// trigger is the size of the process's heap from which on it is due.
	trigger atomic.Uint64
	// making is the size of what Go code is converting for Lua and no script can
	// reach yet. It belongs to the lock holder, as limit does.
	making uint64
	limit  uint64 // MaxMemory, or more in a session that holds more already
}

// watchMemory makes the guard due when the heap grows. It is a guard against
// accidents, not against hostile code.
func (h *Host) watchMemory() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	h.memory.limit = h.o.MaxMemory
	h.memory.trigger.Store(h.o.MaxMemory)
	go func() {
		defer close(done)
		tick := time.NewTicker(memoryPeriod)
		defer tick.Stop()
		for last := uint64(0); ; {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			last = h.lookAtHeap(last)
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// lookAtHeap compares the heap with the trigger. A heap that has shrunk since
// the last look lowers the trigger: the host may not grow into what was garbage.
func (h *Host) lookAtHeap(last uint64) uint64 {
	heap, trigger := heapBytes(), h.memory.trigger.Load()
	if heap < last {
		lower := max(h.o.MaxMemory, trigger-min(trigger, last-heap))
		if h.memory.trigger.CompareAndSwap(trigger, lower) {
			trigger = lower
		}
	}
	if heap > trigger {
		h.memory.due.Store(true)
		h.mu.Lock()
		for _, t := range h.live {
			t.alarm.Store(true)
		}
		h.mu.Unlock()
	}
	return heap
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Reserve says that n bytes are about to be made for the script. It raises code
// "memory" if they would exceed the limit of the host. Small amounts cost
// nothing: the guard sees them afterwards.
func Reserve(L *lua.LState, n int) {
	if n < 1<<20 {
		return
	}
	// A large amount is always measured: the heap may have had garbage of others when
	// the trigger was set, and have lost it since.
	k := hookOf(L)
	m := &k.host.memory
	if uint64(n) >= m.limit/8 || heapBytes()+uint64(n) > m.trigger.Load() {
		k.host.measure(k, uint64(n))
	}
}

func (h *Host) converted(k *hook, n int) {
	m := &h.memory
	m.making += uint64(n)
	if m.due.Load() && k.task != h.setup {
		h.measure(k, 0)
	}
}

// measure raises code "memory" if the values of the host and n bytes more exceed
// the limit. The lock is held.
func (h *Host) measure(k *hook, n uint64) {
	m := &h.memory
	live := h.liveBytes(m.limit) + m.making
	// Near the limit, the next look comes after an eighth of it. Measuring makes
	// garbage itself: whatever the guard saw meanwhile does not count.
	m.trigger.Store(heapBytes() + max(m.limit-min(m.limit, live+n), m.limit/8))
	m.due.Store(false)
	if live+n <= m.limit {
		return
	}
	e := Errorf("memory", "the script holds more than %d MB", m.limit>>20)
	if n > 0 {
		e.Message = fmt.Sprintf("%d more bytes would exceed the limit of %d MB", n, m.limit>>20)
	}
	e.Hint = "keep less at a time, or raise the limit with --max-memory"
	m.making = 0
	h.cancelForMemory(k, e)
	raiseObject(k, k.task.cancelValue(k.l))
}

// cancelForMemory ends the script; in a session only the task that asks for
// more.
func (h *Host) cancelForMemory(k *hook, cause *Error) {
	h.mu.Lock()
	s := h.session
	h.mu.Unlock()
	switch {
	case s == nil:
		h.cancelAll(cause)
	case k.task == s.task:
		s.cancelInput(cause)
	default:
		k.task.cancel(cause)
	}
	if k.task.ctx.Err() == nil {
		// Clean-up has a context of its own; it goes on with what is left.
		Raise(k.l, cause)
	}
}

// makeRoom raises the limit of a session that holds more than that already, so
// that its next input can run and drop something. The lock is held.
func (h *Host) makeRoom() {
	m := &h.memory
	m.limit = h.o.MaxMemory
	if heapBytes() < m.limit {
		m.trigger.Store(m.limit)
		return
	}
	live := h.liveBytes(1 << 62)
	m.limit = max(m.limit, live+h.o.MaxMemory/4)
	m.trigger.Store(heapBytes() + m.limit - live)
}

// Sized is implemented by the Values of userdata that hold much memory or Lua
// values.
type Sized interface {
	// Size returns the bytes that the value holds in Go, and calls visit for each
	// Lua value that it holds. The interpreter lock is held.
	Size(visit func(lua.LValue)) int
}

// Estimates of what values take in memory on 64-bit machines, for Converted.
const (
	SizeTable    = 144
	SizeSlot     = 24  // an element of a list with its number
	SizeEntry    = 120 // a key and its value
	SizeFunction = 120
	SizeUpvalue  = 56
	SizeUserdata = 96
	SizeString   = 32 // beside the bytes
	sizeThread   = 24 << 10
	// sharedString is the length from which on strings are counted once however
	// many references there are.
	sharedString = 128
)

// sizer adds up the values that a host can reach.
type sizer struct {
	total, enough uint64
	seen          map[unsafe.Pointer]struct{}
	todo          []lua.LValue
}

// liveBytes estimates the memory of all values that scripts can reach. It stops
// when the sum exceeds enough. The lock is held.
func (h *Host) liveBytes(enough uint64) uint64 {
	s := &sizer{enough: enough, seen: map[unsafe.Pointer]struct{}{}}
	s.add(h.globals)
	s.add(h.modules.loaded)
	if registry, ok := h.root.Get(lua.RegistryIndex).(*lua.LTable); ok {
		s.add(registry)
	}
	h.mu.Lock()
	live := append([]*Task{h.main}, h.live...)
	h.mu.Unlock()
	for _, t := range live {
		if t == nil {
			continue
		}
		for th := t.inner; th != nil; th = hookOf(th).up {
			s.add(th)
		}
		if t.th != nil {
			s.add(t.th)
		}
	}
	s.deferred(h)
	s.run()
	return s.total
}

// deferred adds the functions that wait in the scopes of the tasks.
func (s *sizer) deferred(h *Host) {
	h.mu.Lock()
	live := append([]*Task(nil), h.live...)
	h.mu.Unlock()
	h.scopes.Lock()
	defer h.scopes.Unlock()
	for _, t := range live {
		for scope := t.scope; scope != nil; scope = scope.parent {
			for _, e := range scope.items {
				if e.fn != nil {
					s.add(e.fn)
				}
				for _, a := range e.args {
					s.add(a)
				}
			}
		}
	}
}

// run visits what has been added, and all that it leads to.
func (s *sizer) run() {
	for len(s.todo) > 0 && s.total <= s.enough {
		v := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		s.visit(v)
	}
}

// first reports whether p is met for the first time.
func (s *sizer) first(p unsafe.Pointer) bool {
	if _, known := s.seen[p]; known {
		return false
	}
	s.seen[p] = struct{}{}
	return true
}

// add counts a plain value, and queues one that leads to others.
func (s *sizer) add(v lua.LValue) {
	switch v := v.(type) {
	case lua.LString:
		if len(v) < sharedString || s.first(unsafe.Pointer(unsafe.StringData(string(v)))) {
			s.total += uint64(len(v) + SizeString)
		}
	case *lua.LTable:
		if s.first(unsafe.Pointer(v)) {
			s.todo = append(s.todo, v)
		}
	case *lua.LFunction:
		if s.first(unsafe.Pointer(v)) {
			s.todo = append(s.todo, v)
		}
	case *lua.LUserData:
		if s.first(unsafe.Pointer(v)) {
			s.todo = append(s.todo, v)
		}
	case *lua.LState:
		if s.first(unsafe.Pointer(v)) {
			s.todo = append(s.todo, v)
		}
	}
}

func (s *sizer) visit(v lua.LValue) {
	switch v := v.(type) {
	case *lua.LTable:
		slots := vm.ArrayLen(v)
		s.total += uint64(SizeTable + slots*SizeSlot)
		v.ForEach(func(key, value lua.LValue) {
			if n, ok := key.(lua.LNumber); !ok || n < 1 || int(n) > slots {
				s.total += SizeEntry
				s.add(key)
			}
			s.add(value)
		})
		s.add(v.Metatable)
	case *lua.LFunction:
		s.total += SizeFunction
		for _, u := range v.Upvalues {
			if u != nil && s.first(unsafe.Pointer(u)) {
				s.total += SizeUpvalue
				s.add(u.Value())
			}
		}
		if v.Env != nil {
			s.add(v.Env)
		}
	case *lua.LUserData:
		s.total += SizeUserdata
		if x, ok := v.Value.(Sized); ok {
			s.total += uint64(x.Size(s.add))
		}
		s.add(v.Metatable)
	case *lua.LState:
		s.total += sizeThread
		for _, x := range vm.Registers(v) {
			s.add(x)
		}
	}
}

// LimitProcess bounds the memory of the whole process. The garbage collector
// works harder near the limit; when that does not help, fatal is called once with
// the text to print, and must end the process. It stops with ctx.
func LimitProcess(ctx context.Context, limit uint64, fatal func(text string)) {
	go func() {
		tick := time.NewTicker(memoryPeriod / 2)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if used := processBytes(); used > limit {
				fatal(
					fmt.Sprintf(
						"out of memory: the process uses %d MB, and its limit is %d MB",
						used>>20,
						limit>>20,
					),
				)
				return
			}
		}
	}()
}

// processBytes is the memory that the Go runtime has from the system and has
// not given back.
func processBytes() uint64 {
	sample := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}
