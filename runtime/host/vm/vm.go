// Package vm reads data that gopher-lua does not export: the call stack of a thread
// with functions and lines, its registers, and the size of a table. It uses
// reflection on unexported fields and panics at start-up if one is missing.
//
// GetStack of gopher-lua is not sufficient. It starts at the innermost frame in
// each call, so that a traceback takes quadratic time, and it does not return the
// program counter.
package vm

import (
	"reflect"
	"sort"
	"strconv"
	"strings"
	"unsafe"

	lua "github.com/yuin/gopher-lua"
)

// The positions of the fields that this package reads.
var (
	debugFrame  = fieldOf(reflect.TypeFor[lua.Debug](), "frame")
	frameType   = reflect.TypeFor[lua.Debug]().Field(debugFrame).Type.Elem()
	frameFn     = fieldOf(frameType, "Fn")
	frameParent = fieldOf(frameType, "Parent")
	framePc     = fieldOf(frameType, "Pc")
	frameTail   = fieldOf(frameType, "TailCall")
	frameBase   = fieldOf(frameType, "LocalBase")

	stateRegistry = fieldOf(reflect.TypeFor[lua.LState](), "reg")
	registryType  = reflect.TypeFor[lua.LState]().Field(stateRegistry).Type.Elem()
	registryArray = fieldOf(registryType, "array")

	tableArray  = fieldOf(reflect.TypeFor[lua.LTable](), "array")
	arrayOffset = reflect.TypeFor[lua.LTable]().Field(tableArray).Offset
	placeOffset = reflect.TypeFor[lua.LTable]().Field(
		fieldOf(reflect.TypeFor[lua.LTable](), "k2i")).Offset
)

func fieldOf(t reflect.Type, name string) int {
	f, ok := t.FieldByName(name)
	if !ok {
		panic("vm: gopher-lua's " + t.String() + " has no field " + name)
	}
	return f.Index[0]
}

// Frame is one frame of a thread's call stack.
type Frame struct{ v reflect.Value }

// Innermost returns the running frame of a thread. It returns false if the
// thread runs nothing.
func Innermost(L *lua.LState) (Frame, bool) {
	dbg, ok := L.GetStack(0)
	if !ok {
		return Frame{}, false
	}
	return Frame{reflect.ValueOf(dbg).Elem().Field(debugFrame).Elem()}, true
}

// Fn returns the function of the frame.
func (f Frame) Fn() *lua.LFunction {
	return (*lua.LFunction)(f.v.Field(frameFn).UnsafePointer())
}

// PC returns the index of the running instruction.
func (f Frame) PC() int { return int(f.v.Field(framePc).Int()) - 1 }

func (f Frame) tailCalled() bool { return f.v.Field(frameTail).Int() > 0 }

// Parent returns the frame that called f.
func (f Frame) Parent() (Frame, bool) {
	p := f.v.Field(frameParent)
	if p.IsNil() {
		return Frame{}, false
	}
	return Frame{p.Elem()}, true
}

// Line returns the running line of a Lua function.
func (f Frame) Line() int {
	lines := f.Fn().Proto.DbgSourcePositions
	if pc := f.PC(); pc >= 0 && pc < len(lines) {
		return lines[pc]
	}
	return f.Fn().Proto.LineDefined
}

// Position returns "file:line" of a Lua function.
func (f Frame) Position() string {
	return f.Fn().Proto.SourceName + ":" + strconv.Itoa(f.Line())
}

// CallName returns the name by which the code of f refers to the function that
// it is calling, or "" if that is not known.
func (f Frame) CallName() string {
	fn := f.Fn()
	if fn.IsG {
		return ""
	}
	calls, pc := fn.Proto.DbgCalls, f.PC()
	i := sort.Search(len(calls), func(i int) bool { return calls[i].Pc >= pc })
	if i < len(calls) && calls[i].Pc == pc && calls[i].Name != "?" {
		return calls[i].Name
	}
	return ""
}

// CallsMethod reports whether f is calling a function as a method: s:rep(2).
func (f Frame) CallsMethod() bool {
	if f.Fn().IsG {
		return false
	}
	i, ok := f.Instruction()
	if !ok || i.Op() != lua.OP_CALL && i.Op() != lua.OP_TAILCALL {
		return false
	}
	return strings.HasPrefix(describe(f, i.A(), f.PC()), " (method ")
}

// Name returns the name of a Lua function for a traceback.
func (f Frame) Name() string {
	proto := f.Fn().Proto
	if proto.LineDefined == 0 {
		return "main chunk"
	}
	if p, ok := f.Parent(); ok && !f.tailCalled() {
		if name := p.CallName(); name != "" {
			return name
		}
	}
	return "function <" + proto.SourceName + ":" + strconv.Itoa(proto.LineDefined) + ">"
}

// Instruction returns the running instruction of a Lua function.
func (f Frame) Instruction() (Instruction, bool) {
	code, pc := f.Fn().Proto.Code, f.PC()
	if pc < 0 || pc >= len(code) {
		return 0, false
	}
	return Instruction(code[pc]), true
}

// Registers returns the registers of a thread, including those that are not in
// use. The slice is the thread's own: the caller must hold the interpreter lock
// and must not change it.
func Registers(L *lua.LState) []lua.LValue {
	registry := reflect.ValueOf(L).Elem().Field(stateRegistry)
	if registry.IsNil() {
		return nil
	}
	array := registry.Elem().Field(registryArray)
	return *(*[]lua.LValue)(unsafe.Pointer(array.UnsafeAddr()))
}

// mark is the value that Mark writes.
var mark = &lua.LUserData{}

// Mark writes a mark into the second register above the top of a thread, and Marked
// reports whether it is still there. With them a caller can tell whether a call has
// pushed a second value. gopher-lua does not distinguish a coroutine that returns
// nothing from one that returns nil.
func Mark(L *lua.LState) {
	L.Push(lua.LNil) // makes the registry large enough
	L.Push(lua.LNil)
	L.SetTop(L.GetTop() - 2)
	*second(L) = mark
}

// Marked reports whether the mark is still there, and removes it. The top of the
// thread must be the same as in the call of Mark.
func Marked(L *lua.LState) bool {
	at := second(L)
	if *at != mark {
		return false
	}
	*at = nil
	return true
}

// second returns the second register above the top.
func second(L *lua.LState) *lua.LValue {
	base := 0
	if f, ok := Innermost(L); ok {
		base = int(f.v.Field(frameBase).Int())
	}
	return &Registers(L)[base+L.GetTop()+1]
}

// ArrayLen returns the length of a table's array part. It reaches up to the largest
// integer key and may contain nil.
func ArrayLen(t *lua.LTable) int {
	return reflect.ValueOf(t).Elem().Field(tableArray).Len()
}

// HasKey reports whether key is or was a key of t, so that next can continue from
// it. This includes removed keys of the array part.
func HasKey(t *lua.LTable, key lua.LValue) bool {
	array := (*[]lua.LValue)(unsafe.Add(unsafe.Pointer(t), arrayOffset))
	n, ok := key.(lua.LNumber)
	if ok && n >= 1 && int(n) <= cap(*array) && n == lua.LNumber(int(n)) {
		return true
	}
	places := *(*map[lua.LValue]int)(unsafe.Add(unsafe.Pointer(t), placeOffset))
	_, ok = places[key]
	return ok
}

// Instruction is one instruction of the VM: 6 bits of opcode, 8 of A, 9 of C
// and 9 of B, where B and C together are Bx.
type Instruction uint32

// Op returns the opcode, one of gopher-lua's OP constants.
func (i Instruction) Op() int { return int(i >> 26) }

// A returns the register operand A.
func (i Instruction) A() int { return int(i>>18) & 0xff }

// B returns the operand B, a register or a constant.
func (i Instruction) B() int { return int(i & 0x1ff) }

// C returns the operand C, a register or a constant.
func (i Instruction) C() int { return int(i>>9) & 0x1ff }

// Bx returns the operand Bx, a constant.
func (i Instruction) Bx() int { return int(i & 0x3ffff) }

// SplitPosition splits an error text that begins with "file:line: " into the
// position and the rest. pos is "" if there is no position.
func SplitPosition(s string) (pos, text string) {
	i := strings.Index(s, ": ")
	// The position ends with ":<digits>: ". The file name may contain colons itself.
	for at := 0; i >= 0; {
		end := at + i
		if j := strings.LastIndexByte(s[:end], ':'); j > 0 && j+1 < end && Digits(s[j+1:end]) {
			return s[:end], s[end+2:]
		}
		// gopher-lua writes "file:line: message", sometimes without the colon
		// after the line when it has no message; look further.
		at = end + 2
		i = strings.Index(s[at:], ": ")
		if strings.ContainsRune(s[:at], '\n') {
			break
		}
	}
	return "", s
}

// Digits reports whether s consists of decimal digits, at least one.
func Digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
