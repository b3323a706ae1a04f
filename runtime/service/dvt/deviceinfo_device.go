package dvt

import (
	"context"
	"maps"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

func deviceInfo(s *session, _ *dtx.Channel) dtx.Handler {
	p := s.phone
	m := dtx.Methods{
		selListDir: func(_ context.Context, args dtx.Args) (any, error) {
			path, ok := args.String(0)
			if !ok {
				return nil, badArguments(selListDir)
			}
			names, err := p.ListDirectory(path)
			if err != nil {
				return nil, refused(err, codeENOENT)
			}
			return anyList(names), nil
		},
		selExecName: func(_ context.Context, args dtx.Args) (any, error) {
			pid, err := pidOf(args, 0, selExecName)
			proc, _ := p.Processes.Find(pid)
			return proc.Path, err // the path is empty if the process does not exist
		},
		selIsRunning: func(_ context.Context, args dtx.Args) (any, error) {
			pid, err := pidOf(args, 0, selIsRunning)
			_, ok := p.Processes.Find(pid)
			return ok, err
		},
		selUserName:  lookUp(selUserName, processes.UserName),
		selGroupName: lookUp(selGroupName, processes.GroupName),
	}
	for selector, get := range map[string]func(*phone.Phone) any{
		"runningProcesses":    processList,
		"systemInformation":   systemInformation,
		"hardwareInformation": hardwareInformation,
		"networkInformation":  networkInformation,
		"machTimeInfo":        machTimeInfo,
		"machKernelName":      func(p *phone.Phone) any { return p.Usage.Hardware().KernelName },
		"kpepDatabase":        func(*phone.Phone) any { return nil },
		"traceCodesFile":      func(*phone.Phone) any { return traceCodes },
		"sysmonProcessAttributes": func(*phone.Phone) any {
			return attributeNames(processAttributes)
		},
		"sysmonSystemAttributes": func(*phone.Phone) any {
			return attributeNames(systemAttributes)
		},
	} {
		m[selector] = func(context.Context, dtx.Args) (any, error) { return get(p), nil }
	}
	return m
}

func lookUp(
	selector string, get func(int) (string, bool),
) func(context.Context, dtx.Args) (any, error) {
	return func(_ context.Context, args dtx.Args) (any, error) {
		id, ok := args.Int(0)
		if !ok {
			return nil, badArguments(selector)
		}
		if name, ok := get(int(id)); ok {
			return name, nil
		}
		return nil, refusePOSIX(codeENOENT)
	}
}

func anyList(names []string) []any {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return list
}

// processList lists the processes with the kernel last, as devices do. The kernel has
// no start date. No process identifier is negative, because go-ios rejects such a list.
func processList(p *phone.Phone) any {
	var list []any
	front, _ := p.Processes.Front()
	for _, proc := range p.Processes.List() {
		if proc.PID == 0 {
			continue
		}
		d := nskeyed.Dict{
			{Key: "foregroundRunning", Value: proc.PID == front.PID},
			{Key: "isApplication", Value: isApplication(p, proc)},
			{Key: "name", Value: proc.Name},
			{Key: "pid", Value: int64(proc.PID)},
			{Key: "realAppName", Value: proc.Path},
			{Key: "shouldAnalyzeWithCorpse", Value: true},
			{Key: "startDate", Value: nskeyed.DateOf(proc.Started)},
		}
		if proc.BundleID != "" {
			d = append(d, nskeyed.Pair{Key: "bundleIdentifier", Value: proc.BundleID})
		}
		list = append(list, d)
	}
	return append(list, nskeyed.Dict{
		{Key: "isApplication", Value: false}, {Key: "name", Value: "Mach Kernel"},
		{Key: "pid", Value: int64(0)}, {Key: "realAppName", Value: "mach_kernel"}})
}

// isApplication reports whether a process belongs to an installed app.
func isApplication(p *phone.Phone, proc processes.Process) bool {
	_, ok := p.Apps.Find(proc.BundleID)
	return ok
}

func systemInformation(p *phone.Phone) any {
	return nskeyed.Dict{
		{Key: "_deviceDescription", Value: "Build Version " + p.Identity.Build + ", iOS " +
			p.Identity.Version + ", " + p.Identity.UDID},
		{Key: "_deviceDisplayName", Value: p.Values.Name() + " (v" + p.Identity.Version + ")"},
		{Key: "_deviceIdentifier", Value: p.Identity.UDID},
		{Key: "_deviceVersion", Value: p.Identity.Build},
		{Key: "_productType", Value: p.Identity.ProductType},
		{Key: "_productVersion", Value: p.Identity.Version},
		{Key: "_xrdeviceClassName", Value: "XRMobileDevice"},
	}
}

func hardwareInformation(p *phone.Phone) any {
	hw := p.Usage.Hardware()
	clusters := nskeyed.Dict{}
	for i := range hw.LogicalCPUs {
		id := int64(0)
		if i >= hw.EfficiencyCPUs {
			id = 1
		}
		clusters = append(clusters,
			nskeyed.Pair{Key: int64(i), Value: nskeyed.CPUCluster{ID: id, Flags: id}})
	}
	return nskeyed.Dict{
		{Key: "ProcessorTraceState", Value: nskeyed.Dict{{Key: "HWTraceAvailable", Value: false}}},
		{Key: "cpuClusterInfo", Value: clusters},
		{Key: "hwCPU64BitCapable", Value: int64(1)},
		{Key: "hwCPUsubtype", Value: int64(hw.CPUSubtype)},
		{Key: "hwCPUtype", Value: int64(hw.CPUType)},
		{Key: "numberOfCpus", Value: int64(hw.LogicalCPUs)},
		{Key: "numberOfPhysicalCpus", Value: int64(hw.PhysicalCPUs)},
	}
}

func networkInformation(p *phone.Phone) any {
	all := p.NetworkInterfaces()
	d := nskeyed.Dict{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d = append(d, nskeyed.Pair{Key: name, Value: all[name]})
	}
	return d
}

func machTimeInfo(p *phone.Phone) any {
	hw, now := p.Usage.Hardware(), p.Clock.Now()
	ticks := p.Clock.MachTime()
	return []any{ticks, int64(hw.TimebaseNumer), int64(hw.TimebaseDenom), ticks,
		float64(now.UnixNano()) / 1e9, p.Values.Zone().String()}
}

// traceCodes names some of the events of the kernel. A real device has several
// thousand.
const traceCodes = `0x1020000	KTrap_DivideError
0x1020004	KTrap_Debug
0x1020008	KTrap_NMI
0x102000c	KTrap_Int3
0x1300000	MACH_vmfault
0x1400000	MACH_SCHED
0x1400004	MACH_STKHANDOFF
0x1400008	MACH_MAKE_RUNNABLE
0x3010090	HFS_update
0x40c000c	BSC_read
0x40c0010	BSC_write
0x40c0014	BSC_open
0x5070004	EV_IOKit
0x7000004	TRACE_DATA_NEWTHREAD
0x7000008	TRACE_DATA_EXEC
0x7010004	TRACE_STRING_NEWTHREAD
0x25000001	PERF_Event
`
