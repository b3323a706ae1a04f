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

// Names of the attributes of processes that Usage has fields for.
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
	return device.OpenStream(c, d, o.Timeout, device.Live{
		Limit: limit,
		Open: func(ctx context.Context) (*stream.Opening, error) {
			return samples(ctx, d, o.Interval)
		},
		Options: stream.Options{Kind: "sysmon"},
	})
}

// samples opens a channel and starts the sampling. It asks only for those attributes that
// the device has.
func samples(
	ctx context.Context, d *device.Device, interval time.Duration,
) (*stream.Opening, error) {
	s, err := sessionOf(d).Get(ctx)
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
	return &stream.Opening{
		Source: device.Each(d, m.Next, sample), Stop: m.Close,
		Dropped: m.Dropped, Malformed: m.Malformed,
	}, nil
}

// sample returns the record of a sample.
func sample(s *dvt.Sample) any {
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
