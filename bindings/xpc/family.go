package xpc

import (
	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// opening is the beginning of the examples.
const opening = "local svc = device():xpc(\"com.apple.coredevice.deviceinfo\")\n"

// Family returns the method xpc of Device.
func Family() device.Family {
	return device.Family{
		Explain: explain,
		Classes: []*api.Class{connectionClass()},
		Methods: []*api.Func{
			api.Method("xpc", "Connects to a RemoteXPC service by its name in the device's list "+
				"of remote services (RSD), which iOS 17 and later have.",
				"name opts?", open,
				api.ParamDoc("name", "such as com.apple.coredevice.deviceinfo"),
				api.StringKind("name", "remote_service"),
				api.ParamDoc("opts", "timeout"),
				api.Raises("InvalidService", "no_tunnel", "timeout", "not_paired", "disconnected"),
				api.Returns("XPC svc"),
				api.MinOS("17.0"),
				api.Perm("raw"),
				api.Example(opening+"print(svc)")),
		},
	}
}

// Module declares imd.xpc.
func Module() *api.Module {
	return &api.Module{
		Name: "xpc", Perm: "none",
		Doc: "Values of RemoteXPC that Lua has no form for. `plist.real(1)` is sent as a " +
			"double, `uint64(\"1\")` as a uint64, other whole numbers as an int64.",
		Classes: []*api.Class{uuidClass()},
		Funcs: []*api.Func{
			api.Function("uuid", "Makes an identifier, which XPC tells from text.",
				"text", uuid,
				api.ParamDoc("text", "32 hexadecimal digits with dashes"),
				api.Returns("XPCUUID id"),
				api.Perm("none"),
				api.Example(`local xpc = require "imd.xpc"
print(xpc.uuid("5d5c7d5e-8b4b-4c7c-9d0a-1f3b2a6c4d5e"))`)),
		},
	}
}

func connectionClass() *api.Class {
	c := api.NewClass[*Connection]("XPC", "A RemoteXPC connection to a service of the device. "+
		"Tables become dictionaries and arrays; whole numbers are sent as int64, others as "+
		"double, `uint64(...)` as uint64, Data as data, Date as date, null as null, `require "+
		"\"imd.xpc\".uuid(...)` as uuid. Several tasks may use it.")
	c.Var, c.Closer, c.Perm = "svc", true, "raw"
	c.String = func(x *Connection) string { return "XPC<" + x.name + " on " + x.udid + ">" }
	c.Fields = []*api.Field{api.Property("name", "name of the service",
		func(x *Connection) string { return x.name })}
	opts := api.ParamDoc("opts", "timeout")
	raises := func(more ...string) api.Option {
		return api.Raises(append([]string{
			"timeout", "disconnected", "protocol", "refused",
		}, more...)...)
	}
	c.Methods = []*api.Func{
		api.Method("call", "Sends a request and waits for its reply.",
			"request opts?", call,
			api.ParamDoc("request", "table with string keys"),
			api.ParamDoc("opts", "timeout, any_reply"),
			raises(),
			api.Returns("table<string, any> reply"),
			api.Perm("raw"),
			api.Example(opening+`local feature = "com.apple.coredevice.feature.getlockstate"
local reply = svc:call({ ["CoreDevice.featureIdentifier"] = feature })
p(reply)`)),
		api.Method("send", "Sends a message that wants no reply.",
			"message opts?", send,
			api.ParamDoc("message", "table with string keys"),
			opts,
			raises(),
			api.Perm("raw"),
			api.Example(opening+"svc:send{ hello = true }")),
		api.Method("recv", "Waits for a message that the service sends by itself; nil when it has "+
			"closed the connection.",
			"opts?", recv,
			opts,
			raises(),
			api.Returns("table<string, any>? message"),
			api.Perm("raw"),
			api.Example(opening+`local ok, e = try(svc.recv, svc, { timeout = 0.1 })
print(ok, e.code)`)),
		api.Method("invoke", "Invokes a feature of a CoreDevice service and returns its output. "+
			"The first call opens a second connection, on which calls take turns.",
			"feature input? opts?", invoke,
			api.ParamDoc("feature", "identifier; com.apple.coredevice.feature. may be left out"),
			api.ParamDoc("input", "value that the feature takes"),
			opts,
			raises("not_found", "permission_denied", "locked", "unsupported", "invalid"),
			api.Returns("any output"),
			api.Perm("raw"),
			api.Example(opening+`p(svc:invoke("getlockstate"))`)),
	}
	return c
}
