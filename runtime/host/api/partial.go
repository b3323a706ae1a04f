package api

import (
	"fmt"
	"reflect"

	lua "github.com/yuin/gopher-lua"
)

// Skipped is the record of one file that a call on many files has left out, or could not describe
// completely.
type Skipped struct {
	Path    string `lua:"path" doc:"path of the file or directory"`
	Code    string `lua:"code" doc:"code of the error"`
	Message string `lua:"message" doc:"the error in words"`
}

// Partial is a List that may be incomplete. Scripts see the missing files as list.skipped, a list
// of Skipped.
type Partial[T any] struct {
	Items   []T
	Skipped []*Skipped
}

// PartialTable is a Partial that scripts see as a table. The field skipped is not a key of the
// table, so loops and encoders see only the items.
type PartialTable[T any] Partial[T]

// partial is a Partial or a PartialTable.
type partial interface {
	skipped() []*Skipped
	table() bool
}

func (p Partial[T]) skipped() []*Skipped      { return p.Skipped }
func (p PartialTable[T]) skipped() []*Skipped { return p.Skipped }
func (Partial[T]) table() bool                { return false }
func (PartialTable[T]) table() bool           { return true }

var typePartial = reflect.TypeFor[partial]()

// partialPusher returns the pusher for a Partial or PartialTable.
func (ix *Index) partialPusher(t reflect.Type) (pusher, error) {
	items, err := ix.pusherFor(t.Field(0).Type)
	if err != nil {
		return nil, err
	}
	return func(L *lua.LState, v reflect.Value) lua.LValue {
		p := v.Interface().(partial)
		skipped := reflect.ValueOf(p.skipped())
		if !p.table() {
			ud := ix.pushView(L, v.Field(0))
			if l, ok := listOf(ud); ok {
				l.skipped = &skipped
			}
			return ud
		}
		out := items(L, v.Field(0))
		if tb, ok := out.(*lua.LTable); ok {
			fields, mt := L.CreateTable(0, 1), L.CreateTable(0, 2)
			fields.RawSetString("skipped", ix.pushView(L, skipped))
			mt.RawSetString("__index", fields)
			mt.RawSetString("__imd", lua.LString("array"))
			tb.Metatable = mt
		}
		return out
	}, nil
}

// Skipped returns the record of a file that is left out because of err.
func (c *Call) Skipped(path string, err error) *Skipped {
	return &Skipped{Path: path, Code: c.ix.host.ToError(err).Code, Message: err.Error()}
}

// WarnSkipped warns that files were left out, if there are any.
func (c *Call) WarnSkipped(skipped []*Skipped) {
	if len(skipped) == 0 {
		return
	}
	first := skipped[0]
	c.ix.host.Warn(fmt.Sprintf("%s: %d left out, see skipped in the result; the first is %q (%s)",
		c.decl.FullName(), len(skipped), first.Path, first.Code))
}
