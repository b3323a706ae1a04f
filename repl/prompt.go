package repl

import (
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

// peekTime limits how long the prompt and completion wait for the interpreter lock if
// a background task holds it.
const peekTime = 50 * time.Millisecond

// prompt returns the prompt. It shows the device in the global dev and the number of
// background tasks. more is set for the second and later lines of an input.
func (r *repl) prompt(more bool) string {
	if r.o.Batch {
		return ""
	}
	if more {
		return "..> "
	}
	text := r.o.Name
	r.interactive.TryWith(peekTime, func(L *lua.LState) {
		if label := deviceLabel(L); label != "" {
			text += "(" + label + ")"
		}
	})
	switch n := len(r.host.Tasks()); n {
	case 0:
	case 1:
		text += "[1 task]"
	default:
		text += fmt.Sprintf("[%d tasks]", n)
	}
	return text + "> "
}

// deviceLabel describes the device in the global dev. It does not wait, because the
// fields of a device are a snapshot.
func deviceLabel(L *lua.LState) string {
	dev, ok := L.G.Global.RawGetString("dev").(*lua.LUserData)
	if !ok || L.GetMetaField(dev, "__name") != lua.LString("Device") {
		return ""
	}
	name, _ := L.GetField(dev, "name").(lua.LString)
	version := ""
	if v := L.GetField(dev, "version"); v != lua.LNil {
		version = host.ToString(L, v)
	}
	switch {
	case name == "":
		return ""
	case version == "":
		return visible.Line(string(name))
	}
	return visible.Line(string(name) + ", iOS " + version)
}
