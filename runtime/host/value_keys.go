package host

import (
	"errors"
	"fmt"

	lua "github.com/yuin/gopher-lua"
)

// Keys says how a table is written in a document, such as one in JSON. If list is true,
// it is a list of t.Len() elements, by the same rule as that of FromLua. Otherwise it
// has the string keys that are returned, in the order of the table. The error says why
// it is neither; it has no path and no code.
func Keys(t *lua.LTable) (keys []string, list bool, err error) {
	if t.Len() > 0 || tableKind(t) == "array" {
		return nil, true, whole(t)
	}
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		s, ok := k.(lua.LString)
		if !ok {
			return nil, false, fmt.Errorf("key %s is not a string", k)
		}
		keys = append(keys, string(s))
	}
	return keys, false, nil
}

// whole returns an error if a table has another key than those of its list, or holes.
func whole(t *lua.LTable) error {
	n, count := t.Len(), 0
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		if !isArrayIndex(k, n) {
			return fmt.Errorf("a list with the key %s", k)
		}
		count++
	}
	if count != n {
		return errors.New("a list with holes, use null")
	}
	return nil
}
