package dvt

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// wantSample checks the values that every sample has, and returns the load of a
// process.
func (r *rig) wantSample(s *Sample, app int, first bool) (load float64) {
	r.t.Helper()
	if s.CPUs != 6 {
		r.t.Errorf("%d CPUs, want 6", s.CPUs)
	}
	if s.EnabledCPUs != 6 {
		r.t.Errorf("%d enabled CPUs, want 6", s.EnabledCPUs)
	}
	if len(s.Cores) != 6 {
		r.t.Errorf("%d cores, want 6", len(s.Cores))
	}
	if s.Load == nil {
		r.t.Fatalf("no load in %+v", s)
	}
	if s.Load.Total <= 0 || s.Load.Total > 600 {
		r.t.Errorf("total load %v is not between 0 and 600", s.Load.Total)
	}
	if s.Load.User != -1 {
		r.t.Errorf("user load %v, want -1", s.Load.User)
	}
	if free, ok := s.System.Int("vmFreeCount"); !ok || free <= 0 {
		r.t.Errorf("vmFreeCount = %d, %v", free, ok)
	}
	if got, want := len(s.System.Values), len(s.System.Names()); got != want {
		r.t.Errorf("%d values of the system, want %d", got, want)
	}
	if len(s.Processes) != len(r.phone.Processes.List()) {
		r.t.Errorf("%d processes", len(s.Processes))
	}
	for _, p := range s.Processes {
		pid, _ := p.Int("pid")
		name, ok := p.String("name")
		if !ok {
			r.t.Errorf("process %d: the name is not text", p.PID)
		}
		if int(pid) != p.PID {
			r.t.Errorf("process %d: pid = %d", p.PID, pid)
		}
		if name == "" {
			r.t.Errorf("process %d has no name", p.PID)
		}
		if got, want := len(p.Values), len(p.Names()); got != want {
			r.t.Errorf("process %d: %d values, want %d", p.PID, got, want)
		}
		v, known := p.Real("cpuUsage")
		if known == first {
			r.t.Errorf("load of %s: %v, %v", name, v, known)
		}
		if p.PID == app {
			load = v
		}
	}
	return load
}

func TestSysmon(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		app, err := r.Launch(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Sysmon(ctx, SysmonConfig{})
		if err != nil {
			t.Fatal(err)
		}
		var last *Sample
		begun := time.Now()
		loads := map[float64]bool{}
		for i := range 5 {
			s, err := m.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begun); d != time.Duration(i)*time.Second {
				t.Errorf("sample %d comes after %v", i, d)
			}
			loads[r.wantSample(s, app, i == 0)] = true
			if last != nil {
				if s.Start != last.End {
					t.Errorf("sample %d starts at %d, want %d", i, s.Start, last.End)
				}
				if took := s.End - s.Start; took != 24_000_000 {
					t.Errorf("sample %d of %d ticks, want 24000000", i, took)
				}
				a, _ := last.System.Int("diskBytesRead")
				if b, _ := s.System.Int("diskBytesRead"); b < a {
					t.Errorf("%d bytes read after %d", b, a)
				}
			}
			last = s
		}
		if len(loads) != 5 {
			t.Errorf("the load of the app stands still: %v", loads)
		}
		// A process that has ended is in no later sample.
		if err := r.Kill(ctx, app); err != nil {
			t.Fatal(err)
		}
		s, err := m.Next(ctx)
		if err != nil {
			t.Errorf("Next: %v", err)
		} else if slices.ContainsFunc(s.Processes,
			func(p ProcessRow) bool { return p.PID == app }) {
			t.Errorf("process %d is in a sample after its end", app)
		}
		for range 2 {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := m.Next(ctx); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next after Close: %v", err)
		}
	})
}

func TestSysmonConfig(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		m, err := r.Sysmon(ctx, SysmonConfig{
			Interval: 100 * time.Millisecond, Processes: []string{"name", "none", "uid", "ppid"},
			System: []string{},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		begun := time.Now()
		for range 3 {
			s, err := m.Next(ctx)
			if err != nil {
				t.Fatalf("Next: %v", err)
			}
			if s.System != nil {
				t.Fatalf("System = %+v, want nil", s.System)
			}
			for _, p := range s.Processes {
				model, _ := r.phone.Processes.Find(p.PID)
				want := []any{
					model.Name, nskeyed.Null{}, int64(processes.UserID(model.User)),
					int64(model.ParentPID),
				}
				if !reflect.DeepEqual(p.Values, want) {
					t.Errorf("process %d: %v, want %v", p.PID, p.Values, want)
				}
				for _, name := range []string{"none", "other"} {
					if v := p.Get(name); v != nil {
						t.Errorf("process %d: %s = %v, want nil", p.PID, name, v)
					}
				}
			}
		}
		if d := time.Since(begun); d != 200*time.Millisecond {
			t.Errorf("three samples in %v", d)
		}
		// Two streams of samples are independent of each other.
		n, err := r.Sysmon(ctx, SysmonConfig{
			Interval: time.Second, Processes: []string{}, System: []string{"physMemSize"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		for range 2 {
			s, err := n.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if s.Processes != nil {
				t.Errorf("processes %v, want none", s.Processes)
			}
			if want := []any{int64(6 << 30)}; !reflect.DeepEqual(s.System.Values, want) {
				t.Fatalf("system %v, want %v", s.System.Values, want)
			}
		}
		if _, err := r.Sysmon(ctx, SysmonConfig{
			Processes: make([]string, maxAttributes+1), System: []string{},
		}); !errors.Is(err, dtx.ErrRemote) {
			t.Errorf("too many attributes: %v", err)
		}
		// A call that waits ends with its context.
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		if _, err := n.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next: %v", err)
		}
		if _, err := n.Next(ctx); err != nil {
			t.Errorf("Next after a deadline: %v", err)
		}
	})
}

// wantRows checks the values that clients other than this package read from a sample of
// pid and name.
func wantRows(t *testing.T, in *dtx.Incoming) {
	t.Helper()
	v, err := in.Object()
	rows, _ := v.([]any)
	if err != nil {
		t.Fatalf("sample: %v", err)
	}
	if len(rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rows))
	}
	head := rows[0].(nskeyed.Dict)
	load, _ := head.Dict("SystemCPUUsage")
	total, ok := load.Real("CPU_TotalLoad")
	count, _ := head.Uint("CPUCount")
	enabled, _ := head.Uint("EnabledCPUs")
	end, _ := head.Uint("EndMachAbsTime")
	kind, _ := head.Uint("Type")
	if !ok {
		t.Errorf("first row %v has no load", head)
	}
	if total <= 0 {
		t.Errorf("total load %v, want more than 0", total)
	}
	if count != 6 {
		t.Errorf("CPUCount = %d, want 6", count)
	}
	if enabled != 6 {
		t.Errorf("EnabledCPUs = %d, want 6", enabled)
	}
	if end == 0 {
		t.Error("EndMachAbsTime = 0")
	}
	if kind != 33 {
		t.Errorf("Type = %d, want 33", kind)
	}
	procs, _ := rows[1].(nskeyed.Dict).Dict("Processes")
	for _, p := range procs {
		if _, ok := p.Key.(int64); !ok {
			t.Errorf("key %v of a process is not an int64", p.Key)
		} else if len(p.Value.([]any)) != 2 {
			t.Errorf("process %v has %d values, want 2", p.Key, len(p.Value.([]any)))
		}
	}
}

// TestForeignSysmon takes samples message by message, without the client of this
// package.
func TestForeignSysmon(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		ch := r.host(ChannelSysmon, dtx.Options{Silent: true})
		config := nskeyed.Dict{{Key: "ur", Value: int64(1)}, {Key: "bm", Value: int64(0)},
			{Key: "procAttrs", Value: []any{"pid", "name"}},
			{Key: "sysAttrs", Value: nskeyed.Set{"threadCount"}}, {Key: "cpuUsage", Value: true},
			{Key: "sampleInterval", Value: int64(500_000_000)}}
		if err := ch.Send(ctx, selConfig, config); err != nil {
			t.Fatal(err)
		}
		if err := ch.Send(ctx, selStart); err != nil {
			t.Fatal(err)
		}
		in, err := ch.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// The first message of a real device. testdata/go-ios of package nskeyed
		// describes it.
		captured, err := os.ReadFile("../../codec/nskeyed/testdata/go-ios/DTSysmonTapMessage.bin")
		if err != nil {
			t.Fatal(err)
		}
		got, err1 := classes().Decode(in.Payload)
		want, err2 := classes().Decode(captured)
		if err := errors.Join(err1, err2); err != nil {
			t.Error(err)
		}
		if in.Type != dtx.Object {
			t.Errorf("type %v, want %v", in.Type, dtx.Object)
		}
		if in.ExpectsReply {
			t.Error("the first message expects a reply")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("first message %+v, want %+v", got, want)
		}
		begun := time.Now()
		for range 3 {
			in, err := ch.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if in.Type != dtx.Data {
				t.Fatalf("type %v, want %v", in.Type, dtx.Data)
			}
			if in.ExpectsReply {
				t.Fatal("a sample expects a reply")
			}
			if !bytes.HasPrefix(in.Payload, []byte("bplist00")) {
				t.Fatalf("payload %.20q is not a binary property list", in.Payload)
			}
			wantRows(t, in)
		}
		if d := time.Since(begun); d != time.Second {
			t.Errorf("three samples in %v, want 1 s", d)
		}
		if _, err := ch.Call(ctx, selStop); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		now, cancel := context.WithCancel(ctx)
		cancel()
		if in, err := ch.Next(now); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %+v, %v", in, err)
		}
		// Sampling can be started again, also twice in a row.
		for range 2 {
			if _, err := ch.Call(ctx, selStart); err != nil {
				t.Fatal(err)
			}
			for _, want := range []dtx.Type{dtx.Object, dtx.Data} {
				if in, err := ch.Next(ctx); err != nil {
					t.Errorf("Next: %v", err)
				} else if in.Type != want {
					t.Errorf("type %v, want %v", in.Type, want)
				}
			}
		}
	})
}

// TestSysmonSlow does not read samples for half an hour.
func TestSysmonSlow(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		m, err := r.Sysmon(t.Context(), SysmonConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if m.Dropped() == 0 {
			t.Error("no event was dropped")
		}
		if n, bytes := m.queue.Waiting(); n > feedLimit {
			t.Errorf("%d events wait, want at most %d", n, feedLimit)
		} else if bytes > feedBytes {
			t.Errorf("%d bytes wait, want at most %d", bytes, feedBytes)
		}
		s, err := m.Next(t.Context())
		if err != nil {
			t.Errorf("Next: %v", err)
		} else if s.End-s.Start != 24_000_000 {
			t.Errorf("a sample of %d ticks, want 24000000", s.End-s.Start)
		}
	})
}

// TestStalledHost uses a host that stops reading. The device neither fills its memory
// nor hangs when it ends.
func TestStalledHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		c, served := servicetest.Dial(ctx, t, &Device{Phone: p})
		var b []byte
		for i, call := range []struct {
			channel  int32
			selector string
			args     []any
		}{{0, "_requestChannelWithCode:identifier:", []any{dtx.Int32(1), ChannelSysmon}},
			{1, selConfig, []any{SysmonConfig{
				Interval: 10 * time.Millisecond, Processes: []string{"pid", "name"},
			}.dict()}}, {1, selStart, nil}} {
			var args []dtx.Arg
			for _, v := range call.args {
				a, ok := v.(dtx.Arg)
				if !ok {
					archive, err := nskeyed.Encode(v)
					if err != nil {
						t.Fatal(err)
					}
					a = dtx.Buffer(archive)
				}
				args = append(args, a)
			}
			payload, err := nskeyed.Encode(call.selector)
			if err != nil {
				t.Fatal(err)
			}
			b = dtx.Append(b, &dtx.Message{
				ID: uint32(i + 1), Channel: call.channel, Type: dtx.Dispatch,
				Aux: dtx.AppendArgs(nil, args), Payload: payload,
			})
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
		c.Close()
	})
}
