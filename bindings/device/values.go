package device

import (
	"context"
	"errors"
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/lockdown"
)

// get takes (key), (domain, key) or (domain). A single argument that contains a dot
// is a domain, and get returns all values of it.
func get(c *api.Call, d *Device, a string, b *string, t Timeout) (v any, err error) {
	domain, key := "", a
	if b != nil {
		domain, key = a, *b
	} else if isDomain(a) {
		domain, key = a, ""
	}
	err = d.Do(c, t, func(ctx context.Context) error {
		if key == "" {
			v, err = d.Domain(ctx, domain)
		} else {
			v, err = d.Get(ctx, domain, key)
		}
		return err
	})
	if errors.Is(err, lockdown.ErrMissingValue) {
		return nil, nil
	}
	return v, err
}

// isDomain reports whether s is a domain and not a key. Keys contain no dots.
func isDomain(s string) bool {
	for i := range s {
		if s[i] == '.' {
			return true
		}
	}
	return false
}

func values(c *api.Call, d *Device, domain *string, t Timeout) (v plist.Dict, err error) {
	name := ""
	if domain != nil {
		name = *domain
	}
	err = d.Do(c, t, func(ctx context.Context) error {
		v, err = d.Domain(ctx, name)
		return err
	})
	return v, err
}

// set takes (key, value) or (domain, key, value), and options behind them.
func set(c *api.Call, d *Device, args ...lua.LValue) error {
	names, opts := setNames(args)
	domain, key, value, err := setArguments(args[:len(args)-opts], names)
	if err != nil {
		return c.ArgError(1, "%v", err)
	}
	v, err := api.Plain(value)
	if err != nil {
		return c.ArgError(names+1, "%v", err)
	}
	var t Timeout
	if opts > 0 {
		if err := c.Index().Options(c.L, args[names+1], &t); err != nil {
			return c.ArgError(names+2, "%v", err)
		}
	}
	return d.Do(c, t, func(ctx context.Context) error { return d.Set(ctx, domain, key, v) })
}

// setNames returns how many arguments of set are names, and how many are options after the
// value. Of three arguments the last one is the options if it is a table and the first one
// is not a domain.
func setNames(args []lua.LValue) (names, opts int) {
	switch len(args) {
	case 3:
		first, _ := args[0].(lua.LString)
		if _, table := args[2].(*lua.LTable); table && !isDomain(string(first)) {
			return 1, 1
		}
		return 2, 0
	case 4:
		return 2, 1
	}
	return 1, 0
}

// setArguments separates the names and the value of set.
func setArguments(
	args []lua.LValue, count int,
) (domain, key string, value lua.LValue, err error) {
	if len(args) != count+1 {
		return "", "", nil, fmt.Errorf("key and value, or domain, key and value expected")
	}
	names := make([]string, 0, 2)
	for _, a := range args[:count] {
		s, ok := a.(lua.LString)
		if !ok {
			return "", "", nil, fmt.Errorf("string expected, got %s", a.Type())
		}
		names = append(names, string(s))
	}
	if len(names) == 2 {
		domain = names[0]
	}
	return domain, names[len(names)-1], args[len(args)-1], nil
}

// remove takes (key) or (domain, key).
func remove(c *api.Call, d *Device, a string, b *string, t Timeout) error {
	domain, key := "", a
	if b != nil {
		domain, key = a, *b
	}
	return d.Do(c, t, func(ctx context.Context) error { return d.Remove(ctx, domain, key) })
}

func refresh(c *api.Call, d *Device, t Timeout) (*Device, error) {
	return d, d.Do(c, t, d.Refresh)
}

func valueMethods() []*api.Func {
	raises := api.Raises("GetProhibited", "PasswordProtected", "not_paired", "timeout",
		"disconnected")
	opts := api.ParamDoc("opts", "timeout")
	return []*api.Func{
		api.Method("get", "Reads a lockdown value: `get(key)` from the default domain, "+
			"`get(domain, key)`, or `get(domain)` for a whole domain, which is told by its dots. "+
			"A key that the device does not have gives nil.",
			"name key? opts?", get,
			api.ParamDoc("name", "key, or domain when a key follows or the name has dots"),
			api.ParamDoc("key", "key in that domain"),
			opts,
			api.Returns("any value"),
			raises,
			api.Perm("read"),
			api.Example(`local dev = device()
print(dev:get("ProductVersion"))
print(dev:get("com.apple.mobile.battery", "BatteryCurrentCapacity"))
print(dev:get("DeviceName", { timeout = 2 }))`)),
		api.Method("values", "Reads all values of a lockdown domain; the default domain when none "+
			"is named.",
			"domain? opts?", values,
			api.ParamDoc("domain", "such as com.apple.disk_usage"),
			opts,
			api.Returns("table<string, any> values"),
			raises,
			api.Perm("read"),
			api.Example(`local dev = device()
print(dev:values().DeviceName)`)),
		api.Method("set", "Writes a lockdown value: `set(key, value)` or `set(domain, key, "+
			"value)`, with `{ timeout = seconds }` behind the value if needed.",
			"args...", set,
			api.ParamDoc("args", "domain if any, key, value, and options if any: timeout"),
			api.Raises("SetProhibited", "ImmutableValue", "timeout"),
			api.Perm("modify"),
			api.Example(`local dev = device()
dev:set("DeviceName", "Shelf 3")`)),
		api.Method("remove", "Deletes a lockdown value: `remove(key)` or `remove(domain, key)`.",
			"name key? opts?", remove,
			api.ParamDoc("name", "key, or domain when a key follows"),
			api.ParamDoc("key", "key in that domain"),
			opts,
			api.Raises("RemoveProhibited", "timeout"),
			api.Perm("modify"),
			api.Example(`local dev = device()
local ok = try(dev.remove, dev, "com.apple.mobile.user_preferences", "x")`)),
		api.Method("refresh", "Finds the device again and renews its fields, after a restart for "+
			"example. Returns the device.",
			"opts?", refresh,
			opts,
			api.Returns("Device dev"),
			api.Raises("no_device", "timeout"),
			api.Perm("read"),
			api.Example(`local dev = device():refresh()
print(dev.name)`)),
	}
}
