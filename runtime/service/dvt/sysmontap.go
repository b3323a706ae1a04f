package dvt

import (
	"context"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

// Selectors of the sysmontap channel.
const (
	selConfig = "setConfig:"
	selStart  = "start"
	selStop   = "stop"
)

// SysmonConfig selects the attributes to sample. The zero value samples all attributes
// once per second.
type SysmonConfig struct {
	Interval time.Duration // time between samples; 0 means one second
	// Processes and System are the attributes to sample. nil means all attributes that
	// the device has, and an empty list means none.
	Processes, System []string
}

// CPULoad is the load of one core, or of all cores together, in percent. A value that
// the device does not know is negative.
type CPULoad struct{ Total, User, System, Nice float64 }

// Sample is one sample of the processes and the device.
type Sample struct {
	Start, End        uint64 // mach time
	CPUs, EnabledCPUs int    // 0 if the sample has no row about the processor
	Load              *CPULoad
	Cores             []CPULoad
	System            *Row
	Processes         []ProcessRow // in the device's order
}

// Row holds the values of attributes. A value is nil if the device does not know it
// yet, such as the load of a process in the first sample.
type Row struct {
	Values []any // in the order of the attributes
	attrs  *attributes
}

// ProcessRow is the row of a process.
type ProcessRow struct {
	PID int
	Row
}

// attributes maps the names of attributes to their positions.
type attributes struct {
	names []string
	index map[string]int
}

func newAttributes(names []string) *attributes {
	a := &attributes{names: names, index: make(map[string]int, len(names))}
	for i, name := range names {
		a.index[name] = i
	}
	return a
}

// Names returns the names of the attributes in the order of Values.
func (r Row) Names() []string { return r.attrs.names }

// Get returns the value of an attribute, or nil if the row does not have it.
func (r Row) Get(name string) any {
	i, ok := r.attrs.index[name]
	if !ok || i >= len(r.Values) {
		return nil
	}
	if _, null := r.Values[i].(nskeyed.Null); null {
		return nil
	}
	return r.Values[i]
}

// Int returns the value of an attribute that is an integer.
func (r Row) Int(name string) (int64, bool) { return nskeyed.Int(r.Get(name)) }

// Real returns the value of an attribute that is a number.
func (r Row) Real(name string) (float64, bool) { return nskeyed.Real(r.Get(name)) }

// String returns the value of an attribute that is a string.
func (r Row) String(name string) (string, bool) { v, ok := r.Get(name).(string); return v, ok }

// Sysmon is a running stream of samples.
type Sysmon struct {
	*feed
	procs, system *attributes
	ready         []*Sample // further samples of a message; used only by Next
	turn          chan struct{}
}

// Sysmon starts to sample.
func (s *Session) Sysmon(ctx context.Context, cfg SysmonConfig) (*Sysmon, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	var err error
	if cfg.Processes == nil {
		cfg.Processes, err = s.ProcessAttributes(ctx)
		if err != nil {
			return nil, err
		}
	}
	if cfg.System == nil {
		cfg.System, err = s.SystemAttributes(ctx)
		if err != nil {
			return nil, err
		}
	}
	f, err := s.feed(ctx, "sample", "", ChannelSysmon)
	if err != nil {
		return nil, err
	}
	m := &Sysmon{
		feed: f, procs: newAttributes(cfg.Processes), system: newAttributes(cfg.System),
		turn: make(chan struct{}, 1),
	}
	// The configuration is sent as a call, because the device may refuse it. The start is
	// sent without asking for an answer, as other hosts do.
	_, err = f.ch.Call(ctx, selConfig, cfg.dict())
	if err == nil {
		err = f.ch.Send(ctx, selStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, &Error{Op: "sample", Err: err}
	}
	return m, nil
}

// dict returns the configuration as it is sent.
func (cfg SysmonConfig) dict() nskeyed.Dict {
	return nskeyed.Dict{
		{Key: "bm", Value: int64(0)},
		{Key: "cpuUsage", Value: true},
		{Key: "physFootprint", Value: true},
		{Key: "procAttrs", Value: anyStrings(cfg.Processes)},
		{Key: "sampleInterval", Value: cfg.Interval.Nanoseconds()},
		{Key: "sysAttrs", Value: anyStrings(cfg.System)},
		{Key: "ur", Value: max(cfg.Interval.Milliseconds(), 1)},
	}
}

func anyStrings(names []string) []any {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return list
}

// Next waits for the next sample. Messages and rows that cannot be decoded are ignored
// and counted by Malformed.
func (m *Sysmon) Next(ctx context.Context) (*Sample, error) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, &Error{Op: m.op, Err: ctx.Err()}
	}
	if len(m.ready) == 0 {
		ready, err := await(ctx, m.feed, m.samples)
		if err != nil {
			return nil, err
		}
		m.ready = ready
	}
	sample := m.ready[0]
	m.ready = m.ready[1:]
	return sample, nil
}

// samples decodes a message of the channel. The result ok is false if it holds no
// sample.
func (m *Sysmon) samples(in *dtx.Incoming) (list []*Sample, ok bool, err error) {
	if in.Type != dtx.Data && in.Type != dtx.Object && in.Type != dtx.Compressed {
		return nil, false, nil
	}
	v, err := in.Object()
	if err != nil {
		return nil, false, err
	}
	list, err = m.parse(v)
	return list, len(list) > 0, err
}

// Close ends the stream.
func (m *Sysmon) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = m.ch.Send(ctx, selStop) // the device also stops when the channel is closed
	return m.feed.Close()
}

// parse decodes a message. It holds rows, or a message of the tap itself, which has no
// samples. Rows of different kinds form one sample; a second row of the same kind
// begins the next sample. The error concerns rows that were left out.
func (m *Sysmon) parse(v any) ([]*Sample, error) {
	list, ok := v.([]any)
	if !ok {
		if _, own := v.(*nskeyed.NSError); own {
			return nil, malformed(v)
		}
		return nil, nil
	}
	var bad error
	var out []*Sample
	var cur *Sample
	for _, v := range list {
		d, ok := v.(nskeyed.Dict)
		if !ok {
			bad = malformed(v)
			continue
		}
		if cur == nil || !cur.fits(d) {
			cur = &Sample{}
			out = append(out, cur)
		}
		if err := m.row(cur, d); err != nil {
			bad = err
		}
	}
	if bad != nil {
		out = slices.DeleteFunc(out, (*Sample).empty)
	}
	return out, bad
}

// empty reports whether nothing of the sample could be decoded.
func (s *Sample) empty() bool {
	return s.Load == nil && s.System == nil && len(s.Processes) == 0 && s.CPUs == 0
}

// fits reports whether the sample has none of the kinds of data in the row.
func (s *Sample) fits(d nskeyed.Dict) bool {
	_, procs := d.Get("Processes")
	_, system := d.Get("System")
	_, load := d.Get("SystemCPUUsage")
	return !(procs && s.Processes != nil) && !(system && s.System != nil) &&
		!(load && s.Load != nil)
}

// row adds a row to a sample. The error concerns values that were left out.
func (m *Sysmon) row(s *Sample, d nskeyed.Dict) (bad error) {
	if v, ok := d.Uint("StartMachAbsTime"); ok {
		s.Start = v
	}
	if v, ok := d.Uint("EndMachAbsTime"); ok {
		s.End = v
	}
	if n, ok := d.Int("CPUCount"); ok {
		s.CPUs = int(n)
	}
	if n, ok := d.Int("EnabledCPUs"); ok {
		s.EnabledCPUs = int(n)
	}
	if load, ok := d.Dict("SystemCPUUsage"); ok {
		l := cpuLoad(load)
		s.Load = &l
	}
	if list, ok := d.Array("PerCPUUsage"); ok {
		s.Cores = make([]CPULoad, 0, len(list))
		for _, v := range list {
			load, ok := v.(nskeyed.Dict)
			if !ok {
				bad = malformed(v) // the core keeps its position, but its load is unknown
			}
			s.Cores = append(s.Cores, cpuLoad(load))
		}
	}
	if values, ok := d.Array("System"); ok {
		s.System = &Row{Values: values, attrs: m.system}
	}
	procs, ok := d.Dict("Processes")
	if !ok {
		return bad
	}
	s.Processes = make([]ProcessRow, 0, len(procs))
	for _, p := range procs {
		pid, ok1 := nskeyed.Int(p.Key)
		values, ok2 := p.Value.([]any)
		if !ok1 || !ok2 || pid != int64(int32(pid)) {
			bad = malformed(p.Value)
			continue
		}
		row := Row{Values: values, attrs: m.procs}
		s.Processes = append(s.Processes, ProcessRow{PID: int(pid), Row: row})
	}
	return bad
}

func cpuLoad(d nskeyed.Dict) CPULoad {
	part := func(key string) float64 {
		if v, ok := d.Real(key); ok {
			return v
		}
		return -1
	}
	return CPULoad{
		Total: part("CPU_TotalLoad"), User: part("CPU_UserLoad"), System: part("CPU_SystemLoad"),
		Nice: part("CPU_NiceLoad"),
	}
}
