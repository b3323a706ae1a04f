package coredevice

import "github.com/imdlua/imdlua/runtime/host/api"

// raises declares the codes that every call of a CoreDevice service may raise, and more.
func raises(more ...string) api.Option {
	return api.Raises(append([]string{
		"timeout", "not_paired", "disconnected", "no_route", "no_tunnel",
		"no_developer_image", "developer_mode_off",
	}, more...)...)
}

func coreClass() *api.Class {
	c := api.NewClass[*Core]("CoreDevice", "Apps and processes of a device with iOS 17 or "+
		"later, as its CoreDevice services have them: without Instruments, and with what "+
		"Xcode's devicectl shows. Features that are not here can be reached by XPC:invoke.")
	c.Var = "core"
	c.String = func(x *Core) string { return "CoreDevice<" + x.dev.UDID() + ">" }
	const f = "local core = device().core\n"
	opts := api.ParamDoc("opts", "timeout")
	id := []api.Option{
		api.ParamDoc("bundle_id", "of the app"), api.StringKind("bundle_id", "bundle_id"),
	}
	pid := api.ParamDoc("pid", "process id")
	method := func(name, doc, args string, fn any, options ...api.Option) *api.Func {
		return api.Method(name, doc, args, fn,
			append(options, api.MinOS("17.0"), api.NeedsDDI())...)
	}
	c.Methods = []*api.Func{
		method("apps", "Lists the apps, those on the home screen if nothing else is said.",
			"opts?", apps,
			api.ParamDoc("opts", "all, containers, timeout"),
			raises(),
			api.Returns("CoreApp[] apps"),
			api.Perm("read"),
			api.SeeAlso("Device:apps"),
			api.Example(f+`for _, app in ipairs(core:apps()) do print(app.bundle_id) end`)),
		method("processes", "Lists the processes.",
			"opts?", processes,
			opts,
			raises(),
			api.Returns("CoreProcess[] processes"),
			api.Perm("read"),
			api.SeeAlso("Device:processes"),
			api.Example(f+`print(#core:processes() > 20)`)),
		method("launch", "Launches an app or brings it to the front.",
			"bundle_id opts?", launch,
			append(id, api.ParamDoc("opts", "args, env, kill, suspended, background, timeout"),
				raises("not_found", "locked"),
				api.Returns("CoreProcess process"),
				api.Perm("control"),
				api.SeeAlso("Device:launch"),
				api.Example(f+`print(core:launch("com.example.shop").pid > 0)`))...),
		method("run", "Launches an app on a terminal and returns a stream of the lines that it "+
			"prints. The stream ends with the app; closing it leaves the app running.",
			"bundle_id opts?", run,
			append(id,
				api.ParamDoc("opts", "args, env, kill, suspended, background, input, timeout"),
				raises("not_found", "locked"),
				api.Returns("Stream<string> output"),
				api.Perm("control"),
				api.Example(f+`local output = core:run("com.example.shop", { kill = true })
output:close()`))...),
		method("signal", "Sends a signal to a process.",
			"pid number opts?", signal,
			pid,
			api.ParamDoc("number", "of the signal as iOS counts them, such as 15 for SIGTERM"),
			opts,
			raises("not_found", "permission_denied"),
			api.Perm("control"),
			api.Example(f+`core:signal(core:launch("com.example.shop").pid, 15)`)),
		method("warn_memory", "Sends a memory warning to a process.",
			"pid opts?", warnMemory,
			pid,
			opts,
			raises("not_found"),
			api.Perm("control"),
			api.Example(f+`core:warn_memory(core:launch("com.example.shop").pid)`)),
		method("await_exit", "Waits until a process ends.",
			"pid opts?", awaitExit,
			pid,
			opts,
			raises("not_found"),
			api.Returns("CoreExit exit"),
			api.Perm("read"),
			api.Example(f+`local pid = core:launch("com.example.shop").pid
local ok, e = try(core.await_exit, core, pid, { timeout = 0.1 })
print(ok or e.code)`)),
		method("uninstall", "Removes an app.",
			"bundle_id opts?", uninstall,
			append(id, opts,
				raises("not_found", "permission_denied", "unsupported"),
				api.Perm("control"),
				api.Example(f+`print((try(core.uninstall, core, "com.example.none")))`))...),
		method("restart", "Restarts the device. The call returns when the device agrees or is "+
			"gone.",
			"opts?", restart,
			api.ParamDoc("opts", "userspace, timeout"),
			raises("unsupported"),
			api.Perm("control"),
			api.SeeAlso("Device:restart"),
			api.Example(f+`core:restart()`)),
		method("attributes", "Returns what the device says of itself.",
			"opts?", attributes,
			opts,
			raises(),
			api.Returns("CoreAttributes attributes"),
			api.Perm("read"),
			api.Example(f+`print(core:attributes().marketing_name)`)),
	}
	return c
}
