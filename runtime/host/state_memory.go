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

// memoryPeriod is the time between two readings of the heap size. A check after a
// number of instructions would be too late, because a script can fill memory with
// few of them (s = s..s).
const memoryPeriod = 20 * time.Millisecond

// memory enforces the memory limit of a host. The size of the process's heap is
// cheap to read, but all hosts share it. So the heap only decides when to measure:
// then the values that this host can reach are added up and compared with the
// limit.
type memory struct {
	due atomic.Bool // the next check of the hook measures
	// trigger is the size of the process's heap above which due is set.
	trigger atomic.Uint64
	// making is the size of the values that Go code is converting for Lua and that
	// no script can reach yet. The lock holder owns making and limit.
	making uint64
	limit  uint64 // MaxMemory, or more if an interactive run already holds more
	// reserved is what Reserve has granted since the last measurement. The lock holder
	// owns it. The heap does not show all of it, because it may lose garbage of other
	// hosts at the same time.
	reserved uint64
}

// watchMemory starts a goroutine that makes a measurement due when the heap grows.
// It protects against accidents, not against hostile code.
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

// lookAtHeap compares the heap with the trigger and returns its size. If the heap
// has shrunk since the last reading, it lowers the trigger by the same amount, so
// that the host cannot grow unnoticed by the size of the collected garbage.
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

// Reserve must be called before n bytes are allocated for the script. It raises
// code "memory" if they would exceed the limit of the host. It ignores small
// amounts, which the regular measurement finds afterwards.
func Reserve(L *lua.LState, n int) {
	if n < 1<<20 {
		return
	}
	k := hookOf(L)
	m := &k.host.memory
	m.reserved += uint64(n)
	if m.reserved >= m.limit/8 || heapBytes()+uint64(n) > m.trigger.Load() {
		k.host.measure(k, uint64(n))
	}
}

// converted counts n bytes that Go code has converted for Lua.
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
	// The next measurement is due when the heap has grown by what is left of the
	// limit, but at least by an eighth of it. Measuring produces garbage, so due is
	// cleared afterwards.
	m.trigger.Store(heapBytes() + max(m.limit-min(m.limit, live+n), m.limit/8))
	m.due.Store(false)
	m.reserved = 0
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

// cancelForMemory ends the script. In an interactive run it ends only the task that
// asks for more memory.
func (h *Host) cancelForMemory(k *hook, cause *Error) {
	h.mu.Lock()
	s := h.interactive
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
		// The task is cleaning up under another context, which was not cancelled.
		Raise(k.l, cause)
	}
}

// makeRoom raises the limit of an interactive run that already holds more than
// that, so that its next input can run and release something. The lock is held.
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

// Sized is implemented by values of userdata that hold much memory or hold Lua
// values.
type Sized interface {
	// Size returns the bytes that the value holds in Go, and calls visit for each
	// Lua value that it holds. The interpreter lock is held.
	Size(visit func(lua.LValue)) int
}

// Estimates of the memory that values take on 64-bit machines, for Converted.
const (
	SizeTable    = 144
	SizeSlot     = 24  // an element of a list with its number
	SizeEntry    = 120 // a key and its value
	SizeFunction = 120
	SizeUpvalue  = 56
	SizeUserdata = 96
	SizeString   = 32 // without the bytes of the string
	sizeThread   = 24 << 10
	// sharedString is the length from which a string is counted only once, even if
	// there are several references to it.
	sharedString = 128
)

// sizer adds up the sizes of the values that a host can reach.
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

// deferred adds the deferred functions in the scopes of the tasks.
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

// run visits the values that have been added, and all that can be reached from
// them.
func (s *sizer) run() {
	for len(s.todo) > 0 && s.total <= s.enough {
		v := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		s.visit(v)
	}
}

// first reports whether p was not seen before.
func (s *sizer) first(p unsafe.Pointer) bool {
	if _, known := s.seen[p]; known {
		return false
	}
	s.seen[p] = struct{}{}
	return true
}

// add counts a string, and queues a value that can refer to others.
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

// LimitProcess limits the memory of the whole process until ctx ends. If the
// process exceeds the limit, it calls fatal once with the text to print; fatal must
// end the process.
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

// processBytes returns the memory that the Go runtime has got from the system and
// has not returned.
func processBytes() uint64 {
	sample := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}
