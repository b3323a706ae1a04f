package dvt

import (
	"context"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

// Selectors of the taps.
const (
	selConfig = "setConfig:"
	selStart  = "start"
	selStop   = "stop"
)

// SysmonConfig says what is sampled. The zero value samples everything once a
// second.
type SysmonConfig struct {
	Interval time.Duration // between samples, 0 is a second
	// Processes and System are the attributes to sample; nil means all that the
	// device has, an empty list none.
	Processes, System []string
}

// CPULoad is the load of a core in percent, or of all of them together. What
// the device does not know is negative.
type CPULoad struct{ Total, User, System, Nice float64 }

// Sample is one look at the device.
type Sample struct {
	Start, End        uint64 // mach time
	CPUs, EnabledCPUs int    // 0 if the sample has no row about the processor
	Load              *CPULoad
	Cores             []CPULoad
	System            *Row
	Processes         []ProcessRow // in the device's order
}

// Row is values of attributes. Devices send null for what they do not know
// yet, the load of a process in the first sample for example.
type Row struct {
	Values []any // in the order of the attributes
	attrs  *attributes
}

// ProcessRow is the row of a process.
type ProcessRow struct {
	PID int
	Row
}

// attributes finds attributes by their names.
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

// Names returns the attributes of the row in their order.
func (r Row) Names() []string { return r.attrs.names }

// Get returns the value of an attribute, nil if there is none.
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

// Int returns a whole number.
func (r Row) Int(name string) (int64, bool) { return nskeyed.Int(r.Get(name)) }

// Real returns a number.
func (r Row) Real(name string) (float64, bool) { return nskeyed.Real(r.Get(name)) }

// String returns a text.
func (r Row) String(name string) (string, bool) { v, ok := r.Get(name).(string); return v, ok }

// Sysmon is a running tap of samples.
type Sysmon struct {
	*feed
	procs, system *attributes
	ready         []*Sample // of a message that held several; Next's
	turn          chan struct{}
}

// Sysmon begins to sample.
func (s *Session) Sysmon(ctx context.Context, cfg SysmonConfig) (*Sysmon, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	var err error
	if cfg.Processes == nil {
		if cfg.Processes, err = s.ProcessAttributes(ctx); err != nil {
			return nil, err
		}
	}
	if cfg.System == nil {
		if cfg.System, err = s.SystemAttributes(ctx); err != nil {
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
	// Both are sent without asking for an answer, as other hosts do, but for
	// the refusal of a configuration, which is worth the wait.
	if _, err = f.ch.Call(ctx, selConfig, cfg.dict()); err == nil {
		err = f.ch.Send(ctx, selStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, &Error{Op: "sample", Err: err}
	}
	return m, nil
}

// dict is the configuration as it is sent.
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

// Next waits for the next sample. What cannot be decoded is passed over and counted by
// Malformed: a message, or the rows of a sample.
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

// samples reads a message of the channel; ok is false if it holds no sample.
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

// Close ends the sampling.
func (m *Sysmon) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = m.ch.Send(ctx, selStop) // closing the channel stops it as well
	return m.feed.Close()
}

// parse reads a message: rows, or a message of the tap itself, which holds no
// samples. Rows of different kinds make one sample; a second one of a kind
// begins the next. The error is about rows that were left out.
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

// empty reports whether nothing of a sample could be decoded.
func (s *Sample) empty() bool {
	return s.Load == nil && s.System == nil && len(s.Processes) == 0 && s.CPUs == 0
}

// fits reports whether a row holds nothing that the sample has already.
func (s *Sample) fits(d nskeyed.Dict) bool {
	_, procs := d.Get("Processes")
	_, system := d.Get("System")
	_, load := d.Get("SystemCPUUsage")
	return !(procs && s.Processes != nil) && !(system && s.System != nil) &&
		!(load && s.Load != nil)
}

// row adds a row to a sample. The error is about values that were left out.
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
				bad = malformed(v) // the core keeps its place, its load is unknown
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
