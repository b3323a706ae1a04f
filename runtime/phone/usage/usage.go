// Package usage measures the use of processor, memory, disk and network by the phone and
// its processes.
package usage

import (
	"math"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

const (
	// PageSize is the size of a memory page.
	PageSize = 16384
	// CPUType is the type of the processors of all profiles, 64 bit ARM.
	CPUType = 0x100000C
)

// Hardware describes the processor, as the kernel reports it.
type Hardware struct {
	PhysicalCPUs, LogicalCPUs int
	EfficiencyCPUs            int // these cores come first
	CPUType, CPUSubtype       int
	TimebaseNumer             int // a mach tick is numer/denom nanoseconds
	TimebaseDenom             int
	RAM                       int64
	KernelName                string
}

// Hardware returns the description of the processor.
func (u *Meter) Hardware() Hardware {
	return Hardware{PhysicalCPUs: 6, LogicalCPUs: 6, EfficiencyCPUs: 4, CPUType: CPUType,
		CPUSubtype:    2,
		TimebaseNumer: 125, TimebaseDenom: 3, RAM: u.id.RAM,
		KernelName: "/mach.release." + u.id.Platform}
}

// ProcessUsage is the usage of a process. Counters begin when the process starts.
type ProcessUsage struct {
	processes.Process
	State   processes.State
	CPU     float64 // percent of one core, now
	User    time.Duration
	System  time.Duration
	Threads int
	Ports   int
	// Bytes.
	Virtual, Resident, Private, Shared, Anonymous int64
	AnonymousPeak, Footprint, Compressed          int64
	Purgeable, Wired, DiskRead, DiskWritten       int64
	// Counters.
	Faults, PageIns, ContextSwitches, InterruptWakeups int64
	UnixCalls, MachCalls, Sent, Received               int64
}

// Usage is the usage of the phone at one time.
type Usage struct {
	Time      time.Time
	MachTime  uint64
	Load      float64   // percent, summed over the cores
	Cores     []float64 // percent of each
	Processes []ProcessUsage
	Threads   int
	// Pages of PageSize.
	Free, Used, Wired, Internal, External, Compressor, Purgeable, Speculative int64
	RAM, SwapUsed                                                             int64 // bytes
	DiskRead, DiskWritten, DiskReadOps, DiskWriteOps                          int64
	NetIn, NetOut, PacketsIn, PacketsOut                                      int64
}

// Meter measures the usage. It keeps the processor time of each process. All methods may be
// called concurrently.
type Meter struct {
	id        *identity.Identity
	clock     *clock.Clock
	processes *processes.Processes

	mu     sync.Mutex
	meters map[int]*meter
}

// New returns a Meter that has measured nothing.
func New(id *identity.Identity, c *clock.Clock, p *processes.Processes) *Meter {
	return &Meter{id: id, clock: c, processes: p}
}

type meter struct {
	at      time.Time
	seconds float64 // processor time until at
}

// Boot resets the processor times of all processes.
func (u *Meter) Boot() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.meters = nil
}

// Measure measures the usage of the phone. The processes are sorted by PID.
func (u *Meter) Measure() Usage {
	now := u.clock.Now()
	out := Usage{Time: now, MachTime: u.clock.MachTimeAt(now)}
	list := u.processes.List()
	states := u.processes.States(list)
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.meters
	u.meters = make(map[int]*meter, len(list))
	out.Processes = make([]ProcessUsage, len(list))
	for i, proc := range list {
		m := old[proc.PID]
		if m == nil {
			m = &meter{at: proc.Started}
		}
		u.meters[proc.PID] = m
		out.Processes[i] = u.measure(m, proc, states[i], now)
	}
	u.total(&out)
	return out
}

// appetite returns the average processor use of a process, in percent of a core.
func appetite(proc processes.Process, s processes.State, h uint64) float64 {
	spread := float64(h%1000) / 1000
	switch {
	case s == processes.Suspended:
		return 0
	case s == processes.Foreground:
		return 18 + 17*spread
	case proc.PID == 0:
		return 6
	case proc.Name == "SpringBoard" || proc.Name == "backboardd":
		return 3 + 2*spread
	case proc.IsApp():
		return 1 + 2*spread
	}
	return 0.02 + 0.6*spread*spread
}

// swing is the part of its average by which the load of a process rises and falls.
const swing = 0.6

// measure updates a meter and returns the usage of its process. The load of each
// process follows a sine wave with a period of its own, so that charts change.
func (u *Meter) measure(
	m *meter, proc processes.Process, s processes.State, now time.Time,
) ProcessUsage {
	h := files.Mix(u.id.Seed ^ identity.Hash(proc.Path))
	avg := appetite(proc, s, h)
	omega := 2 * math.Pi / (4 + float64(h>>10%13))
	phase := float64(h >> 20 % 628)
	from, to := m.at.Sub(proc.Started).Seconds(), max(now.Sub(proc.Started), 0).Seconds()
	if to > from {
		wave := swing / omega * (math.Cos(omega*from+phase) - math.Cos(omega*to+phase))
		m.seconds += avg / 100 * (to - from + wave)
		m.at = now
	}
	sec := m.seconds
	mem := int64(1<<20) + int64(h>>32%(22<<20))
	if proc.IsApp() {
		mem = 60<<20 + int64(h>>32%(180<<20))
	}
	base := mem // counters must not shrink with the memory
	mem += int64(float64(mem) * 0.04 * math.Sin(to/37+phase))
	mem = mem &^ (PageSize - 1)
	cpu := avg * (1 + swing*math.Sin(omega*to+phase))
	count := func(perSecond float64) int64 { return int64(sec * perSecond) }
	return ProcessUsage{
		Process: proc, State: s, CPU: cpu,
		User:    time.Duration(sec * 0.7 * float64(time.Second)),
		System:  time.Duration(sec * 0.3 * float64(time.Second)),
		Threads: 2 + int(h%5) + int(avg/4), Ports: 40 + int(h>>8%400),
		Virtual: 390<<30 + mem*6, Resident: mem * 5 / 4, Private: mem * 3 / 4, Shared: mem / 4,
		Anonymous:     mem * 7 / 8,
		AnonymousPeak: base, Footprint: mem, Compressed: mem / 16, Purgeable: mem / 64,
		Wired:    PageSize,
		DiskRead: base + count(90_000), DiskWritten: base/8 + count(30_000),
		Faults: base/PageSize + count(220), PageIns: base/PageSize/3 + count(9),
		ContextSwitches: count(2900), InterruptWakeups: count(350),
		UnixCalls: count(16_000), MachCalls: count(9_000), Sent: count(1_200),
		Received: count(1_150),
	}
}

// total computes the usage of the phone from that of its processes.
func (u *Meter) total(out *Usage) {
	var footprint, compressed, purgeable int64
	for i := range out.Processes {
		q := &out.Processes[i]
		out.Load += q.CPU
		out.Threads += q.Threads
		footprint += q.Footprint
		compressed += q.Compressed
		purgeable += q.Purgeable
		out.DiskRead += q.DiskRead
		out.DiskWritten += q.DiskWritten
		out.NetIn += q.Received * 310
		out.NetOut += q.Sent * 95
	}
	hw := u.Hardware()
	out.Cores = make([]float64, hw.LogicalCPUs)
	rest := out.Load
	out.Load = 0
	for i := range out.Cores {
		// The efficiency cores, which come first, take most of the load.
		share := min(rest*0.45, 97)
		if i == len(out.Cores)-1 {
			share = min(rest, 97)
		}
		rest -= share
		out.Cores[i] = share
		out.Load += share
	}
	pages := hw.RAM / PageSize
	out.RAM = hw.RAM
	out.Wired = pages * 19 / 100
	out.Internal = footprint / PageSize
	out.Compressor = compressed / PageSize
	out.Purgeable = purgeable / PageSize
	out.Speculative = pages / 50
	out.External = pages / 5
	out.Used = min(out.Wired+out.Internal+out.Compressor, pages-out.Speculative)
	out.Free = max(pages-out.Used-out.External-out.Speculative, pages/100)
	out.DiskReadOps, out.DiskWriteOps = out.DiskRead/24_576, out.DiskWritten/12_288
	out.PacketsIn, out.PacketsOut = out.NetIn/900, out.NetOut/420
}
