package dvt

import (
	"maps"
	"slices"
)

// selectors are the methods that are known of each channel.
var selectors = map[string][]string{
	ChannelDeviceInfo: {selListDir, selExecName, "hardwareInformation", selIsRunning,
		"kpepDatabase", "machKernelName", "machTimeInfo",
		selGroupName, selUserName, "networkInformation", "runningProcesses",
		"sysmonProcessAttributes", "sysmonSystemAttributes",
		"systemInformation", "traceCodesFile"},
	ChannelProcessControl: {
		selKill, selLaunch, selPIDOf, selNoLimits, selResume, selSignal, selObserve, selStopObserve,
		selSuspend,
	},
	ChannelApplications:  {selListApps},
	ChannelSysmon:        {selConfig, selStart, selStop},
	ChannelScreenshot:    {selScreenshot},
	ChannelLocation:      {selSimulate, selStopSimulate},
	ChannelConditions:    {selConditions, selDisableAny, selDisable, selEnable},
	ChannelNotifications: {selAppNotes, selMemoryNotes},
}

// Channels lists the identifiers of the channels that are known, sorted.
func Channels() []string { return slices.Sorted(maps.Keys(selectors)) }

// Selectors lists the methods that are known of a channel, sorted: a device may
// have more of them, or fewer.
func Selectors(identifier string) []string {
	return slices.Sorted(slices.Values(selectors[identifier]))
}
