package dvt

import (
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/phone/usage"
)

// attribute is a column of the samples.
type attribute[T any] struct {
	name string
	get  func(T) any
}

// columns returns the functions for the named attributes. The value of an unknown
// attribute is null.
func columns[T any](names []string, table []attribute[T]) []func(T) any {
	out := make([]func(T) any, len(names))
	for i, name := range names {
		out[i] = func(T) any { return nskeyed.Null{} }
		for k := range table {
			if table[k].name == name {
				out[i] = table[k].get
			}
		}
	}
	return out
}

// values returns a row with the values of the columns.
func values[T any](columns []func(T) any, from T) []any {
	out := make([]any, len(columns))
	for i, get := range columns {
		out[i] = get(from)
	}
	return out
}

func attributeNames[T any](table []attribute[T]) []any {
	out := make([]any, len(table))
	for i := range table {
		out[i] = table[i].name
	}
	return out
}

// processSample is a process in a sample.
type processSample struct {
	*usage.ProcessUsage
	now   time.Time
	first bool
}

// States of a process in the kernel.
const (
	procRuns    = 2
	procStopped = 4
)

func (p *processSample) status() any {
	if p.State == processes.Suspended {
		return int64(procStopped)
	}
	return int64(procRuns)
}

// load returns the load of the process. It is not known in the first sample.
func (p *processSample) load() any {
	if p.first {
		return nskeyed.Null{}
	}
	return p.CPU
}

func count[T int | int64 | time.Duration](get func(*processSample) T) func(*processSample) any {
	return func(p *processSample) any { return int64(get(p)) }
}

var processAttributes = []attribute[*processSample]{
	{"memVirtualSize", count(func(p *processSample) int64 { return p.Virtual })},
	{"cpuUsage", (*processSample).load},
	{"procStatus", (*processSample).status},
	{"appSleep", func(p *processSample) any { return p.State == processes.Suspended }},
	{"uid", count(func(p *processSample) int { return processes.UserID(p.Process.User) })},
	{"vmPageIns", count(func(p *processSample) int64 { return p.PageIns })},
	{"memRShrd", count(func(p *processSample) int64 { return p.Shared })},
	{"ctxSwitch", count(func(p *processSample) int64 { return p.ContextSwitches })},
	{"memCompressed", count(func(p *processSample) int64 { return p.Compressed })},
	{"intWakeups", count(func(p *processSample) int64 { return p.InterruptWakeups })},
	{"cpuTotalSystem", count(func(p *processSample) time.Duration { return p.System })},
	{"responsiblePID", count(func(p *processSample) int { return p.PID })},
	{"physFootprint", count(func(p *processSample) int64 { return p.Footprint })},
	{"cpuTotalUser", count(func(p *processSample) time.Duration { return p.ProcessUsage.User })},
	{"sysCallsUnix", count(func(p *processSample) int64 { return p.UnixCalls })},
	{"memResidentSize", count(func(p *processSample) int64 { return p.Resident })},
	{"sysCallsMach", count(func(p *processSample) int64 { return p.MachCalls })},
	{"memPurgeable", count(func(p *processSample) int64 { return p.Purgeable })},
	{"diskBytesRead", count(func(p *processSample) int64 { return p.DiskRead })},
	{"machPortCount", count(func(p *processSample) int { return p.Ports })},
	{"__suddenTerm", func(*processSample) any { return false }},
	{"__arch", func(*processSample) any { return int64(usage.CPUType) }},
	{"memRPrvt", count(func(p *processSample) int64 { return p.Private })},
	{"msgSent", count(func(p *processSample) int64 { return p.Sent })},
	{"ppid", count(func(p *processSample) int { return p.ParentPID })},
	{"threadCount", count(func(p *processSample) int { return p.Threads })},
	{"memAnon", count(func(p *processSample) int64 { return p.Anonymous })},
	{"memAnonPeak", count(func(p *processSample) int64 { return p.AnonymousPeak })},
	{"diskBytesWritten", count(func(p *processSample) int64 { return p.DiskWritten })},
	{"pgid", count(func(p *processSample) int { return p.PID })},
	{"faults", count(func(p *processSample) int64 { return p.Faults })},
	{"msgRecv", count(func(p *processSample) int64 { return p.Received })},
	{"__restricted", func(*processSample) any { return false }},
	{"pid", count(func(p *processSample) int { return p.PID })},
	{"__sandbox", func(p *processSample) any { return p.BundleID != "" }},
	{"name", func(p *processSample) any { return p.Name }},
	{
		"procAge",
		count(func(p *processSample) time.Duration { return max(p.now.Sub(p.Started), 0) }),
	},
	{"wiredSize", count(func(p *processSample) int64 { return p.Wired })},
}

func number(get func(*usage.Usage) int64) func(*usage.Usage) any {
	return func(u *usage.Usage) any { return get(u) }
}

var systemAttributes = []attribute[*usage.Usage]{
	{"diskWriteOps", number(func(u *usage.Usage) int64 { return u.DiskWriteOps })},
	{"diskBytesRead", number(func(u *usage.Usage) int64 { return u.DiskRead })},
	{"diskBytesWritten", number(func(u *usage.Usage) int64 { return u.DiskWritten })},
	{"threadCount", number(func(u *usage.Usage) int64 { return int64(u.Threads) })},
	{"vmCompressorPageCount", number(func(u *usage.Usage) int64 { return u.Compressor })},
	{"vmExtPageCount", number(func(u *usage.Usage) int64 { return u.External })},
	{"vmFreeCount", number(func(u *usage.Usage) int64 { return u.Free })},
	{"vmIntPageCount", number(func(u *usage.Usage) int64 { return u.Internal })},
	{"vmPurgeableCount", number(func(u *usage.Usage) int64 { return u.Purgeable })},
	{"netPacketsIn", number(func(u *usage.Usage) int64 { return u.PacketsIn })},
	{"vmWireCount", number(func(u *usage.Usage) int64 { return u.Wired })},
	{"netBytesIn", number(func(u *usage.Usage) int64 { return u.NetIn })},
	{"netPacketsOut", number(func(u *usage.Usage) int64 { return u.PacketsOut })},
	{"diskReadOps", number(func(u *usage.Usage) int64 { return u.DiskReadOps })},
	{"vmUsedCount", number(func(u *usage.Usage) int64 { return u.Used })},
	{"__vmSwapUsage", number(func(u *usage.Usage) int64 { return u.SwapUsed })},
	{"netBytesOut", number(func(u *usage.Usage) int64 { return u.NetOut })},
	{"physMemSize", number(func(u *usage.Usage) int64 { return u.RAM })},
	{"vmSpeculativeCount", number(func(u *usage.Usage) int64 { return u.Speculative })},
}
