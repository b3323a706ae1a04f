package dvt

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// Sample is the record of one measurement of the load of a device.
type Sample struct {
	Time      time.Time      `lua:"time" doc:"when it arrived, by the clock of this computer"`
	CPU       *float64       `lua:"cpu" doc:"load of all cores in percent; nil while unknown"`
	CPUs      int            `lua:"cpus" doc:"number of cores"`
	System    map[string]any `lua:"system" doc:"the device's counters by name, such as netBytesIn"`
	Processes []*Usage       `lua:"processes" doc:"load of each process, sorted by pid"`
}

// Usage is the record of the load of a process.
type Usage struct {
	PID    int      `lua:"pid" doc:"process id"`
	Name   string   `lua:"name" doc:"short name"`
	CPU    *float64 `lua:"cpu" doc:"load in percent of one core; nil in the first sample"`
	Memory *int64   `lua:"memory" doc:"physical footprint in bytes; nil when it is unknown"`
}

type sysmonOptions struct {
	device.Timeout
	stream.ResumeOption
	Interval time.Duration `lua:"interval" doc:"seconds between samples; 1 when left out"`
}

// Attributes of processes that the record has fields for.
const (
	attrPID    = "pid"
	attrName   = "name"
	attrCPU    = "cpuUsage"
	attrMemory = "physFootprint"
)

func sysmon(
	c *api.Call, d *device.Device, o sysmonOptions,
) (api.Opened[*stream.Stream], error) {
	var none api.Opened[*stream.Stream]
	if o.Interval < 0 {
		return none, c.ArgError(1, "interval is a number of seconds")
	}
	limit, err := o.Limit(c, 1)
	if err != nil {
		return none, err
	}
	again := func(ctx context.Context) (*stream.Opening, error) {
		opening, err := samples(ctx, d, o.Interval)
		if err != nil {
			return nil, d.Ended(err)
		}
		return opening, nil
	}
	return device.Open(c, d, o.Timeout, func(ctx context.Context) (*stream.Stream, error) {
		first, err := samples(ctx, d, o.Interval)
		if err != nil {
			return nil, err
		}
		return stream.NewResuming(first,
			stream.Resume{Limit: limit, Ready: d.Ready, Open: again},
			stream.Options{Kind: "sysmon"}), nil
	})
}

// samples begins the sampling on a channel of its own.
func samples(
	ctx context.Context, d *device.Device, interval time.Duration,
) (*stream.Opening, error) {
	s, err := of(d).Get(ctx)
	if err != nil {
		return nil, err
	}
	known, err := s.ProcessAttributes(ctx)
	if err != nil {
		return nil, err
	}
	wanted := slices.DeleteFunc([]string{attrPID, attrName, attrCPU, attrMemory},
		func(name string) bool { return !slices.Contains(known, name) })
	m, err := s.Sysmon(ctx, dvt.SysmonConfig{Interval: interval, Processes: wanted})
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context, push func(...any)) error {
		for {
			s, err := m.Next(ctx)
			if err != nil {
				return d.Ended(err)
			}
			push(sample(s))
		}
	}
	return &stream.Opening{
		Source: read, Stop: m.Close, Dropped: m.Dropped, Malformed: m.Malformed,
	}, nil
}

func sample(s *dvt.Sample) *Sample {
	out := &Sample{
		Time: time.Now(), CPUs: s.CPUs, System: map[string]any{},
		Processes: make([]*Usage, len(s.Processes)),
	}
	if s.Load != nil && s.Load.Total >= 0 {
		out.CPU = &s.Load.Total
	}
	if s.System != nil {
		for _, name := range s.System.Names() {
			if v := s.System.Get(name); v != nil {
				out.System[name] = plain(v)
			}
		}
	}
	for i, p := range s.Processes {
		u := &Usage{PID: p.PID}
		u.Name, _ = p.String(attrName)
		if v, ok := p.Real(attrCPU); ok {
			u.CPU = &v
		}
		if v, ok := p.Int(attrMemory); ok {
			u.Memory = &v
		}
		out.Processes[i] = u
	}
	slices.SortFunc(out.Processes, func(a, b *Usage) int { return cmp.Compare(a.PID, b.PID) })
	return out
}
