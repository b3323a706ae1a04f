package dvt

import (
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/dtx"
)

// channel is a row of the channel table.
type channel struct {
	identifier string
	// serve returns the device side of the channel for a connection.
	serve func(*session, *dtx.Channel) dtx.Handler
	// selectors are the known methods of the channel.
	selectors []string
	// capabilities are the names under which the server publishes the channel,
	// separated by spaces and without their common prefix.
	capabilities string
}

// channels returns the channel table. It lists the channels that the virtual device
// serves, their methods, and the capabilities that the server publishes. The server
// refuses to open any other channel.
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

// Channels returns the identifiers of the known channels, sorted.
func Channels() []string {
	var names []string
	for _, c := range channels() {
		names = append(names, c.identifier)
	}
	slices.Sort(names)
	return names
}

// Selectors returns the known methods of a channel, sorted. A device may have more or
// fewer.
func Selectors(identifier string) []string {
	for _, c := range channels() {
		if c.identifier == identifier {
			return slices.Sorted(slices.Values(c.selectors))
		}
	}
	return nil
}

// published returns the capabilities of all channels, sorted.
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
