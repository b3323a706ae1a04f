package repl

import (
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

// peekTime is how long the prompt and completion wait for the interpreter when
// a background task keeps it busy.
const peekTime = 50 * time.Millisecond

// prompt is what stands before the cursor: the device in the global dev, and
// how many background tasks run.
func (r *repl) prompt(more bool) string {
	if r.o.Batch {
		return ""
	}
	if more {
		return "..> "
	}
	text := r.o.Name
	r.session.TryWith(peekTime, func(L *lua.LState) {
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

// deviceLabel describes the device in the global dev. Its fields are a
// snapshot, reading them waits for nothing.
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
