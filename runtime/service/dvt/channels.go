package dvt

import (
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/dtx"
)

// channel is a row of the channel table.
type channel struct {
	identifier string
	// serve makes the device side of the channel for a connection.
	serve func(*session, *dtx.Channel) dtx.Handler
	// selectors are the methods that are known of it.
	selectors []string
	// capabilities are what the server publishes of it, without the common
	// beginning and separated by spaces.
	capabilities string
}

// channels returns the channel table: what the virtual device serves, what hosts may
// ask it, and what its server publishes. A channel that is not here is refused when a
// host opens it.
func channels() []channel {
	return []channel{
		{
			ChannelDeviceInfo, deviceInfo,
			[]string{
				selListDir, selExecName, "hardwareInformation", selIsRunning, "kpepDatabase",
				"machKernelName", "machTimeInfo", selGroupName, selUserName, "networkInformation",
				"runningProcesses", "sysmonProcessAttributes", "sysmonSystemAttributes",
				"systemInformation", "traceCodesFile",
			},
			`deviceinfo deviceinfo.app-life-cycle deviceinfo.dyld-tracing
			deviceinfo.energytracing.location deviceinfo.gcd-perf deviceinfo.metal
			deviceinfo.recordOptions deviceinfo.scenekit-tracing deviceinfo.systemversion`,
		},
		{
			ChannelProcessControl, processControl,
			[]string{
				selKill, selLaunch, selPIDOf, selNoLimits, selResume, selSignal, selObserve,
				selStopObserve, selSuspend,
			},
			`processcontrol processcontrol.capability.signal processcontrol.feature.deviceio`,
		},
		{
			ChannelApplications, applications, []string{selListApps}, "device.applictionListing",
		},
		{
			ChannelSysmon, sysmon, []string{selConfig, selStart, selStop},
			`sysmontap sysmontap.deferred sysmontap.immediate sysmontap.processes
			sysmontap.system sysmontap.windowed`,
		},
		{ChannelScreenshot, screenshot, []string{selScreenshot}, "screenshot"},
		{
			ChannelLocation, locationSimulation, []string{selSimulate, selStopSimulate},
			"LocationSimulation",
		},
		{
			ChannelConditions, conditionInducer,
			[]string{selConditions, selDisableAny, selDisable, selEnable}, "ConditionInducer",
		},
		{
			ChannelNotifications, notifications, []string{selAppNotes, selMemoryNotes},
			"mobilenotifications",
		},
	}
}

// Channels lists the identifiers of the channels that are known, sorted.
func Channels() []string {
	var names []string
	for _, c := range channels() {
		names = append(names, c.identifier)
	}
	slices.Sort(names)
	return names
}

// Selectors lists the methods that are known of a channel, sorted: a device may
// have more of them, or fewer.
func Selectors(identifier string) []string {
	for _, c := range channels() {
		if c.identifier == identifier {
			return slices.Sorted(slices.Values(c.selectors))
		}
	}
	return nil
}

// published lists the capabilities of all channels, sorted.
func published() []string {
	var names []string
	for _, c := range channels() {
		for _, name := range strings.Fields(c.capabilities) {
			names = append(names, services+name)
		}
	}
	slices.Sort(names)
	return names
}
