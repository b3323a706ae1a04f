package virtual

import (
	"fmt"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// class declares VirtualDevice.
func class() *api.Class {
	c := api.NewClass[*Device]("VirtualDevice", "The knobs of a virtual device: what a person, a "+
		"cable or a failure does to a phone.")
	c.Var, c.Closer, c.Perm = "phone", true, "none"
	c.String = func(d *Device) string {
		name := d.machine.Phone().Values.Name()
		return fmt.Sprintf("VirtualDevice<%s %q>", d.machine.UDID(), name)
	}
	c.Fields = []*api.Field{
		api.Property("udid", "unique device identifier",
			func(d *Device) string { return d.machine.UDID() }),
		api.Property("attached", "whether it is plugged in",
			func(d *Device) bool { return d.machine.Attached() }),
		api.Property("recovery", "whether it is in recovery mode, in which no host reaches it",
			func(d *Device) bool { return d.machine.Phone().Power.InRecovery() }),
		api.Property("tunnels", "number of tunnels to the device",
			func(d *Device) int { return d.machine.Tunnels() }),
	}
	const start = `local virtual = require "imd.virtual"
local phone = virtual.start()
`
	none := api.Perm("none")
	c.Methods = []*api.Func{
		api.Method("device", "Returns the Device that scripts use for this virtual device.",
			"", deviceOf,
			api.Checks(host.AccessDevice),
			api.Returns("Device dev"),
			none,
			api.Example(start+"print(phone:device().name)")),
		api.Method("detach", "Unplugs the device: every connection to it ends.",
			"", run((*virtual.Machine).Detach),
			none,
			api.Example(start+"phone:detach()")),
		api.Method("attach", "Plugs the device in again.",
			"", attach,
			none,
			api.Example(start+`phone:detach()
phone:attach()`)),
		api.Method("tap_trust", "Answers the Trust dialog with Trust.",
			"", run(func(m *virtual.Machine) { m.Phone().Trust.TapTrust() }),
			none,
			api.Example(start+"phone:tap_trust()")),
		api.Method("tap_deny", "Answers the Trust dialog with Don't Trust.",
			"", run(func(m *virtual.Machine) { m.Phone().Trust.TapDeny() }),
			none,
			api.Example(start+"phone:tap_deny()")),
		api.Method("forget_hosts", "Makes the device forget every computer that it trusts.",
			"", run(func(m *virtual.Machine) { m.Phone().Trust.Reset() }),
			none,
			api.Example(start+"phone:forget_hosts()")),
		api.Method("lock", "Sets a passcode and locks the device.",
			"", run(lock),
			none,
			api.Example(start+"phone:lock()")),
		api.Method("unlock", "Unlocks the device.",
			"", run(func(m *virtual.Machine) { m.Phone().Screen.Unlock() }),
			none,
			api.Example(start+`phone:lock()
phone:unlock()`)),
		api.Method("set_developer_mode", "Switches Developer Mode, which developer services need "+
			"since iOS 16.",
			"on", setDeveloperMode,
			api.ParamDoc("on", "whether it is on"),
			none,
			api.Example(start+`phone:set_developer_mode(false)
print(phone:device():developer_mode())`)),
		api.Method("set_image", "Mounts the developer disk image, or takes it away. Developer "+
			"services come and go with it.",
			"mounted", setImage,
			api.ParamDoc("mounted", "whether it is mounted"),
			none,
			api.Example(start+`phone:set_image(false)
print(#phone:device():ddi())`)),
		api.Method("restrict_apps", "Prohibits hosts to remove apps, as Screen Time and "+
			"configuration profiles do, or allows it again.",
			"on", restrictApps,
			api.ParamDoc("on", "whether it is prohibited"),
			none,
			api.Example(start+`phone:restrict_apps(true)
print(phone:device():get("com.apple.mobile.restriction", "ProhibitAppDelete"))`)),
		api.Method("set_battery", "Sets the charge of the battery.",
			"percent charging?", setBattery,
			api.ParamDoc("percent", "0 to 100"),
			api.ParamDoc("charging", "whether it is being charged"),
			none,
			api.Example(start+`phone:set_battery(15)
print(phone:device():battery().percent)`)),
		api.Method("set_log_rate", "Sets how many lines a second the log has of itself.",
			"lines", setLogRate,
			api.ParamDoc("lines", "a second; 0 for silence"),
			none,
			api.Example(start+"phone:set_log_rate(0)")),
		api.Method("log", "Writes one entry to the device's log.",
			"message opts?", writeLog,
			api.ParamDoc("message", "text"),
			api.ParamDoc("opts", "who says it and how"),
			none,
			api.Example(start+`local stream = phone:device():syslog{ match = "hello" }
phone:log("hello there", { process = "SpringBoard" })
print(stream:next(5).message)`)),
		api.Method("post", "Posts a Darwin notification from inside the device.",
			"name", post,
			api.ParamDoc("name", "of the notification"),
			none,
			api.Example(start+`phone:post("com.example.done")`)),
		api.Method("fault", "Makes a service misbehave: close (ends in mid-message), stall (falls "+
			"silent), trickle (byte by byte), late, length (claims more than follows). `lockdown` "+
			"is lockdownd itself, `rsd` the list of services in tunnels, `*` every service. A "+
			"channel of Instruments, by its identifier, can be killed at a call (kill) or leave "+
			"calls unanswered (mute). lockdownd never answers the start of a service that is mute.",
			"service kind opts?", fault,
			api.ParamDoc("service", "name of the service or channel"),
			api.ParamDoc("kind", "close, stall, trickle, late, length, kill, mute"),
			api.ParamDoc("opts", "when and how: after, at, and delay, which is 0.001 for trickle "+
				"and 1 for late when left out"),
			none,
			api.Example(start+`phone:fault("com.apple.afc", "stall", { after = 100 })`)),
		api.Method("tunnel_fault", "Makes the tunnels misbehave that begin from now on. Real "+
			"devices lose packets over 8192 bytes (drop_over). reorder takes a seed.",
			"opts", faultTunnels,
			api.ParamDoc("opts", "how"),
			none,
			api.Example(start+"phone:tunnel_fault{ drop_over = 8192 }")),
		api.Method("drop_tunnels", "Cuts every tunnel to the device. Returns how many there were.",
			"", dropTunnels,
			api.Returns("integer count"),
			none,
			api.Example(start+`phone:device():tunnel()
print(phone:drop_tunnels())`)),
		api.Method("restart", "Turns the device off and on, as somebody who holds its buttons "+
			"does.",
			"", run(func(m *virtual.Machine) { m.Phone().Power.Do(power.Restart) }),
			none,
			api.Example(start+"phone:restart()")),
		api.Method("leave_recovery", "Starts the device again after a host has put it into "+
			"recovery mode, in which it cannot be reached. It does nothing otherwise.",
			"", run((*virtual.Machine).LeaveRecovery),
			none,
			api.Example(start+`phone:leave_recovery()
print(phone.recovery)`)),
		api.Method("show", "Puts the device on a network of this computer, beside usbmux, until "+
			"it is closed. `ethernet` shows the services for hosts that are not paired as well.",
			"opts", show,
			api.ParamDoc("opts", "what to show and where"),
			api.Checks(host.AccessHost),
			api.Returns("VirtualPlace place"),
			none,
			api.Example(start+`local at = phone:show{ trusted = true }
print(at.address, at.trusted_port)`)),
		api.Method("clear_faults", "Lets every service behave again.",
			"", run((*virtual.Machine).ClearFaults),
			none,
			api.Example(start+"phone:clear_faults()")),
	}
	return c
}
