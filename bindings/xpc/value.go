package xpc

import (
	"fmt"
	"maps"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// UUID is the XPCUUID of scripts: an identifier, which XPC distinguishes from text.
type UUID struct{ value xpc.UUID }

// LuaToGo returns u itself, so that encode gets the object and not its text.
func (u *UUID) LuaToGo() any { return u }

func uuid(c *api.Call, text string) (*UUID, error) {
	u, err := xpc.ParseUUID(text)
	if err != nil {
		return nil, c.ArgError(1, "%q is not a UUID", text)
	}
	return &UUID{u}, nil
}

func uuidClass() *api.Class {
	c := api.NewClass[*UUID]("XPCUUID", "An identifier that is sent as such and not as text.")
	c.Var, c.Perm = "id", "none"
	c.String = func(u *UUID) string { return u.value.String() }
	return c
}

// encode converts a value that host.FromLua returned to the types of XPC.
func encode(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return xpc.Null{}, nil
	case *UUID:
		return v.value, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			x, err := encode(e)
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	case map[string]any:
		out := make(xpc.Dict, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			x, err := encode(v[key])
			if err != nil {
				return nil, err
			}
			out = append(out, xpc.Pair{Key: key, Value: x})
		}
		return out, nil
	}
	if _, err := xpc.AppendObject(nil, v); err != nil {
		return nil, fmt.Errorf("a %T cannot be sent", v)
	}
	return v, nil
}

// decode converts the types of XPC to values that scripts can hold. Files, file
// descriptors and shared memory, which are not part of the message, become tables that
// describe them.
func decode(v any) any {
	switch v := v.(type) {
	case xpc.Null:
		return nil
	case xpc.UUID:
		return v.String()
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = decode(e)
		}
		return out
	case xpc.Dict:
		out := make(map[string]any, len(v))
		for _, p := range v {
			out[p.Key] = decode(p.Value)
		}
		return out
	case xpc.FileTransfer:
		return map[string]any{"$class": "file transfer", "id": v.ID, "info": decode(v.Info)}
	case xpc.FD:
		return map[string]any{"$class": "file descriptor", "number": uint64(v)}
	case xpc.SharedMemory:
		return map[string]any{"$class": "shared memory", "length": uint64(v.Length)}
	}
	return v
}
