package dvt

import (
	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// start is the beginning of the examples. They use a device with iOS 16, because later
// versions have the service only inside a tunnel.
const start = `local virtual = require "imd.virtual"
local dev = virtual.start{ profile = "ios16" }:device()
`

// raises declares the codes that every function of the family raises, and more.
func raises(more ...string) api.Option {
	return api.Raises(append([]string{
		"timeout", "not_paired", "disconnected", "InvalidService",
	}, more...)...)
}

// Family returns the methods of Instruments that are added to Device.
func Family() device.Family {
	return device.Family{
		Explain: explain,
		Classes: []*api.Class{processClass(), dvtClass(), channelClass()},
		Records: []*api.Record{
			api.NewRecord[Condition]("Condition", "A bad condition that a device can simulate."),
			api.NewRecord[Level]("ConditionLevel", "A strength of a condition."),
			api.NewRecord[Sample]("SysmonSample", "One look at the load of a device."),
			api.NewRecord[Usage]("SysmonProcess", "The load of a process."),
			api.NewRecord[Event]("DVTEvent", "What the device sends unasked on a channel of "+
				"Instruments' server."),
		},
		Methods: append(appMethods(), simulationMethods()...),
	}
}

func appMethods() []*api.Func {
	opts := api.ParamDoc("opts", "timeout")
	return []*api.Func{
		api.Method("screenshot", "Takes a picture of the screen, see imd.image. Where bytes are "+
			"expected it is its PNG file.",
			"opts?", screenshot,
			api.ParamDoc("opts", "path of a file, timeout"),
			raises(),
			api.Returns("Picture picture"),
			api.NeedsDDI(),
			api.Perm("read"),
			api.Example(start+`local file = path.join(fs.temp_dir(), "screen.png")
local picture = dev:screenshot{ path = file }
print(picture.width, picture.height)`)),
		api.Method("launch", "Starts an app and brings it to the front. An app that runs already "+
			"comes to the front with its old arguments, unless kill is set.",
			"bundle_id opts?", launch,
			api.ParamDoc("bundle_id", "of the app"),
			api.StringKind("bundle_id", "bundle_id"),
			api.ParamDoc("opts", "how to start it, timeout"),
			raises("not_found", "locked"),
			api.Returns("RunningProcess proc"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.SeeAlso("Device:kill"),
			api.Example(start+`local options = { args = { "-reset" }, kill = true }
local proc = dev:launch("com.example.shop", options)
print(proc.pid)`)),
		api.Method("kill", "Ends a process.",
			"pid opts?", kill,
			api.ParamDoc("pid", "process id"),
			opts,
			raises("not_found", "permission_denied"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.SeeAlso("Device:process"),
			api.Example(start+`dev:kill(dev:launch("com.example.shop").pid)`)),
		api.Method("sysmon", "Returns samples of the load of the device and its processes as a "+
			"stream of SysmonSample. When the device is unplugged the stream waits for it and "+
			"goes on; `stream.gaps` counts that. `resume` is how many seconds it waits; with 0 or "+
			"false it fails with disconnected at once.",
			"opts?", sysmon,
			api.ParamDoc("opts", "interval, how long to wait for a lost device, timeout for the "+
				"opening"),
			raises("too_many_channels"),
			api.Returns("Stream stream"),
			api.NeedsDDI(),
			api.Perm("read"),
			api.Example(start+`for s in dev:sysmon{ interval = 0.05 } do
  print(#s.processes, s.system.physMemSize)
  break
end`)),
		api.Method("dvt", "Returns Instruments' server, to call any method of any channel and to "+
			"hear its events.",
			"opts?", open,
			opts,
			raises(),
			api.Returns("DVT dvt"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.Example(start+`local dvt = dev:dvt()
print(dvt:call("deviceinfo", "machTimeInfo")[1])`)),
		api.Method("dvt_call", "Calls any method of any channel of Instruments' server: the same "+
			"as `dev:dvt():call(...)`.",
			"channel selector args...", callOnDevice,
			api.ParamDoc("channel", "identifier; com.apple.instruments.server.services. may be "+
				"left out"),
			api.StringChoices("channel", channelChoices),
			api.ParamDoc("selector", "name of the method, with a colon for each argument"),
			api.StringChoices("selector", selectorChoices),
			api.ParamDoc("args", "arguments of the method"),
			api.SeeAlso("DVT:call"),
			raises("unsupported"),
			api.Returns("any answer"),
			api.NeedsDDI(),
			api.Perm("raw"),
			api.Example(start+`p(dev:dvt_call("deviceinfo", "systemInformation"))`)),
	}
}

func simulationMethods() []*api.Func {
	opts := api.ParamDoc("opts", "timeout")
	return []*api.Func{
		api.Method("set_location", "Overrides the location that the device reports, until "+
			"clear_location or until imdlua ends.",
			"latitude longitude opts?", setLocation,
			api.ParamDoc("latitude", "degrees north, -90 to 90"),
			api.ParamDoc("longitude", "degrees east, -180 to 180"),
			opts,
			raises(),
			api.NeedsDDI(),
			api.Perm("control"),
			api.Example(start+"dev:set_location(48.8584, 2.2945)")),
		api.Method("clear_location", "Ends the simulated location.",
			"opts?", clearLocation,
			opts,
			raises(),
			api.NeedsDDI(),
			api.Perm("control"),
			api.Example(start+`dev:set_location(48.8584, 2.2945)
dev:clear_location()`)),
		api.Method("play_gpx", "Simulates a journey from a GPX file: the points of its track, "+
			"else of its route, else its places, at their times. Between points that are further "+
			"apart the location moves once a second. It returns at the end; run it in a task to "+
			"do something meanwhile. However it ends, also cancelled, the simulation ends with it.",
			"path opts?", playGPX,
			api.ParamDoc("path", "local GPX file"),
			api.StringKind("path", "path"),
			api.Access("path", host.AccessRead),
			api.ParamDoc("opts", "speed, pace, loop, timeout"),
			raises("decode", "not_found"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.SeeAlso("Device:set_location"),
			api.Example(start+`local file = path.join(fs.temp_dir(), "walk.gpx")
fs.write(file, [[<gpx><rte>
  <rtept lat="52.5163" lon="13.3777"/><rtept lat="52.5145" lon="13.3501"/>
</rte></gpx>]])
dev:play_gpx(file, { speed = 10000 })`)),
		api.Method("conditions", "Lists the bad conditions that the device can simulate, such as "+
			"a slow network or heat.",
			"opts?", conditions,
			opts,
			raises("unsupported"),
			api.Returns("Condition[] conditions"),
			api.NeedsDDI(),
			api.Perm("read"),
			api.Example(start+`for _, c in ipairs(dev:conditions()) do
  print(c.id, #c.levels, c.active)
end`)),
		api.Method("condition", "Makes the device simulate a bad condition, until clear_condition "+
			"or until imdlua ends. One can be active at a time. Some take a device minutes: give "+
			"them a long timeout.",
			"id level opts?", condition,
			api.ParamDoc("id", "of the condition, as conditions lists it"),
			api.ParamDoc("level", "id of one of its levels"),
			opts,
			raises("not_found", "condition_active", "unsupported"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.SeeAlso("Device:conditions"),
			api.Example(start+`local level = "SlowNetwork3GGood"
dev:condition("SlowNetworkCondition", level, { timeout = 300 })`)),
		api.Method("clear_condition", "Ends the condition that is active; without one it does "+
			"nothing.",
			"opts?", clearCondition,
			opts,
			raises("unsupported"),
			api.NeedsDDI(),
			api.Perm("control"),
			api.Example(start+"dev:clear_condition()")),
	}
}
