package dvt

import (
	"errors"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// testTap returns a Sysmon without a connection, for tests of parse.
func testTap() *Sysmon {
	return &Sysmon{
		procs:  newAttributes([]string{"pid", "name"}),
		system: newAttributes([]string{"threadCount"}),
	}
}

func TestParseSamples(t *testing.T) {
	t.Parallel()
	load := nskeyed.Dict{{Key: "CPU_TotalLoad", Value: 13.0}, {Key: "CPU_NiceLoad", Value: 0.0}}
	head := nskeyed.Dict{
		{Key: "CPUCount", Value: int64(2)}, {Key: "SystemCPUUsage", Value: load},
		{Key: "System", Value: []any{int64(5)}},
	}
	procs := nskeyed.Dict{
		{Key: "EndMachAbsTime", Value: uint64(1 << 63)},
		{Key: "Processes", Value: nskeyed.Dict{{Key: int64(7), Value: []any{int64(7)}}}},
	}
	list, err := testTap().parse([]any{head, procs, head, procs, procs})
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	if len(list) != 3 {
		t.Fatalf("%d samples, want 3", len(list))
	}
	s := list[1]
	if s.CPUs != 2 {
		t.Errorf("%d CPUs, want 2", s.CPUs)
	}
	if s.Load.Total != 13 {
		t.Errorf("s.Load.Total = %v, want 13", s.Load.Total)
	}
	if s.Load.Nice != 0 {
		t.Errorf("s.Load.Nice = %v, want 0", s.Load.Nice)
	}
	if s.Load.User != -1 {
		t.Errorf("s.Load.User = %v, want -1", s.Load.User)
	}
	if s.End != 1<<63 {
		t.Errorf("end %d, want 1<<63", s.End)
	}
	if len(s.Processes) != 1 {
		t.Fatalf("processes %+v, want one", s.Processes)
	}
	if n, ok := s.Processes[0].Int("pid"); n != 7 || !ok {
		t.Errorf("pid %d, %v", n, ok)
	}
	if v := s.Processes[0].Get("name"); v != nil { // the row is too short
		t.Errorf("name %v", v)
	}
	if list[2].Load != nil {
		t.Errorf("third sample: Load = %v, want nil", list[2].Load)
	}
	if list[2].System != nil {
		t.Errorf("third sample: System = %v, want nil", list[2].System)
	}
	for name, v := range map[string]any{
		"row":  []any{"x"},
		"core": []any{nskeyed.Dict{{Key: "PerCPUUsage", Value: []any{1.0}}}},
		"pid": []any{
			nskeyed.Dict{{Key: "Processes", Value: nskeyed.Dict{{Key: "7", Value: []any{}}}}},
		},
		"process": []any{
			nskeyed.Dict{{Key: "Processes", Value: nskeyed.Dict{{Key: int64(7), Value: "x"}}}},
		},
	} {
		// The bad row is left out. The sample before it and the following rows are
		// kept.
		rows := slices.Concat([]any{head}, v.([]any), []any{procs})
		list, err := testTap().parse(rows)
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
		if len(list) == 0 {
			t.Errorf("%s: no samples", name)
		} else if list[0].CPUs != 2 {
			t.Errorf("%s: the first sample has %d CPUs, want 2", name, list[0].CPUs)
		} else if list[0].Load == nil {
			t.Errorf("%s: the first sample has no load", name)
		}
		if n := len(list); n == 0 {
			t.Errorf("%s: no samples", name)
		} else if len(list[n-1].Processes) != 1 {
			t.Errorf("%s: the last sample has %d processes, want 1", name, len(list[n-1].Processes))
		}
		if list, err := testTap().parse(v); len(list) != 0 {
			t.Errorf("%s alone: %d samples, want none", name, len(list))
		} else if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s alone: %v, want %v", name, err, ErrProtocol)
		}
	}
	for _, v := range []any{nil, nskeyed.TapMessage{}, nskeyed.Dict{}, "x", []any{}} {
		if list, err := testTap().parse(v); err != nil {
			t.Errorf("parse(%v): %v", v, err)
		} else if len(list) != 0 {
			t.Errorf("parse(%v) = %v, want no samples", v, list)
		}
	}
}

// sampleBytes returns a sample of a phone as it is sent.
func sampleBytes(t testing.TB) []byte {
	p := phonetest.New(t, phone.Options{})
	c := tapConfig{
		cpu: true, procs: columns(tableNames(processAttributes), processAttributes),
		system: columns(tableNames(systemAttributes), systemAttributes),
	}
	u := p.Usage.Measure()
	b, err := nskeyed.Encode(c.rows(&u, 0, false))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tableNames[T any](table []attribute[T]) []string {
	var names []string
	for _, a := range table {
		names = append(names, a.name)
	}
	return names
}

// FuzzEvents decodes arbitrary data as samples, outputs and notifications.
func FuzzEvents(f *testing.F) {
	f.Add(sampleBytes(f))
	for _, v := range []any{
		[]any{nskeyed.Dict{
			{Key: "Processes", Value: nskeyed.Dict{{Key: int64(1), Value: []any{nskeyed.Null{}}}}},
		}},
		nskeyed.Dict{{Key: "pid", Value: int64(1)}, {Key: "timestamp", Value: nskeyed.Date(1e300)}},
		nskeyed.Dict{
			{Key: "identifier", Value: "x"}, {Key: "profiles", Value: []any{nskeyed.Dict{}}},
		},
	} {
		b, err := nskeyed.Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := classes().Decode(b)
		if err != nil {
			return
		}
		list, _ := testTap().parse(v)
		for _, s := range list {
			for _, p := range s.Processes {
				p.Get("name")
			}
			if s.System != nil {
				s.System.Real("threadCount")
			}
		}
		if d, ok := v.(nskeyed.Dict); ok {
			parseNotification(eventApp, d)
			_, _ = parseProcess(d)
			_, _ = parseCondition(t.Context(), d)
			_, _ = nameList(d, "procAttrs")
			matches(d, d)
			launchSpec(dtx.Args{"", "x", d, []any{}, d})
		}
	})
}

func BenchmarkSampleDecode(b *testing.B) {
	bytes := sampleBytes(b)
	m := &Sysmon{
		procs:  newAttributes(tableNames(processAttributes)),
		system: newAttributes(tableNames(systemAttributes)),
	}
	b.SetBytes(int64(len(bytes)))
	b.ReportAllocs()
	for b.Loop() {
		v, err := classes().Decode(bytes)
		if err != nil {
			b.Fatal(err)
		}
		if list, err := m.parse(v); err != nil {
			b.Fatalf("parse: %v", err)
		} else if len(list) != 1 {
			b.Fatalf("%d samples, want 1", len(list))
		}
	}
}

func BenchmarkSampleEncode(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	c := tapConfig{cpu: true, procs: columns(tableNames(processAttributes), processAttributes)}
	b.ReportAllocs()
	for b.Loop() {
		u := p.Usage.Measure()
		if _, err := nskeyed.Encode(c.rows(&u, 0, false)); err != nil {
			b.Fatal(err)
		}
	}
}
