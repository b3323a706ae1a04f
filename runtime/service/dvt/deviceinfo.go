package dvt

import (
	"context"
	"io/fs"
	"math"
	"strconv"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link"
)

// Selectors of deviceinfo that take arguments.
const (
	selExecName  = "execnameForPid:"
	selIsRunning = "isRunningPid:"
	selListDir   = "directoryListingForPath:"
	selUserName  = "nameForUID:"
	selGroupName = "nameForGID:"
)

// ProcessInfo is a running process.
type ProcessInfo struct {
	PID        int // may be negative for some system services of real devices
	Name       string
	Path       string // path of the executable; on some versions that of the app's bundle
	App        bool
	Started    time.Time // zero for the kernel
	BundleID   string    // not sent by all versions
	Foreground bool      // not sent by all versions
	Raw        nskeyed.Dict
}

// Processes lists the running processes in the order of the device. Entries that cannot
// be decoded are left out, here and in the other lists of a session; see link.PassOver.
func (s *Session) Processes(ctx context.Context) ([]ProcessInfo, error) {
	q := question{
		op: "list processes", identifier: ChannelDeviceInfo, selector: "runningProcesses",
	}
	return askList(ctx, s, q, parseProcess)
}

func parseProcess(d nskeyed.Dict) (ProcessInfo, error) {
	p := ProcessInfo{Raw: d}
	pid, ok := d.Int("pid")
	if !ok || pid != int64(int32(pid)) {
		return ProcessInfo{}, unexpected("list processes", "", d)
	}
	p.PID = int(pid)
	p.Name, _ = d.String("name")
	p.Path, _ = d.String("realAppName")
	p.App, _ = d.Bool("isApplication")
	p.BundleID, _ = d.String("bundleIdentifier")
	p.Foreground, _ = d.Bool("foregroundRunning")
	if at, ok := d.Date("startDate"); ok {
		p.Started = at.Time()
	}
	return p, nil
}

// ExecName returns the path of a process's executable.
func (s *Session) ExecName(ctx context.Context, pid int) (string, error) {
	const op = "find executable"
	subject := strconv.Itoa(pid)
	v, err := s.call(ctx, op, subject, ChannelDeviceInfo, selExecName, int64(pid))
	if err != nil {
		return "", err
	}
	switch path, ok := v.(string); {
	case path != "":
		return path, nil
	case ok || v == nil:
		return "", &Error{Op: op, Subject: subject, Err: fs.ErrNotExist}
	}
	return "", unexpected(op, subject, v)
}

// IsRunning reports whether a process with this identifier exists.
func (s *Session) IsRunning(ctx context.Context, pid int) (bool, error) {
	return ask[bool](ctx, s, "look for process", strconv.Itoa(pid), ChannelDeviceInfo, selIsRunning,
		int64(pid))
}

// ListDirectory lists the names in a directory of the device.
func (s *Session) ListDirectory(ctx context.Context, path string) ([]string, error) {
	const op = "list directory"
	v, err := s.call(ctx, op, path, ChannelDeviceInfo, selListDir, path)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	switch {
	case v == nil: // some versions give no reason
		return nil, &Error{Op: op, Subject: path, Err: fs.ErrNotExist}
	case !ok:
		return nil, unexpected(op, path, v)
	}
	return decodeList(ctx, op, path, list, same[string])
}

// UserName returns the name of the user with an identifier.
func (s *Session) UserName(ctx context.Context, uid int) (string, error) {
	return ask[string](ctx, s, "find user", strconv.Itoa(uid), ChannelDeviceInfo, selUserName,
		int64(uid))
}

// GroupName returns the name of the group with an identifier.
func (s *Session) GroupName(ctx context.Context, gid int) (string, error) {
	return ask[string](ctx, s, "find group", strconv.Itoa(gid), ChannelDeviceInfo, selGroupName,
		int64(gid))
}

// SystemInformation describes the device, with keys such as _productType.
func (s *Session) SystemInformation(ctx context.Context) (nskeyed.Dict, error) {
	return ask[nskeyed.Dict](ctx, s, "system information", "", ChannelDeviceInfo,
		"systemInformation")
}

// HardwareInformation describes the processor, with keys such as numberOfCpus.
func (s *Session) HardwareInformation(ctx context.Context) (nskeyed.Dict, error) {
	return ask[nskeyed.Dict](ctx, s, "hardware information", "", ChannelDeviceInfo,
		"hardwareInformation")
}

// NetworkInformation returns descriptions of the network interfaces by their BSD names.
func (s *Session) NetworkInformation(ctx context.Context) (map[string]string, error) {
	const op = "network information"
	d, err := ask[nskeyed.Dict](ctx, s, op, "", ChannelDeviceInfo, "networkInformation")
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(d))
	_, err = link.DecodeList(ctx, d, func(p nskeyed.Pair) (string, error) {
		name, isName := p.Key.(string)
		text, isText := p.Value.(string)
		if !isName || !isText {
			return "", unexpected(op, "", p.Value)
		}
		out[name] = text
		return name, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// MachTime holds the clocks of the device at one moment.
type MachTime struct {
	Absolute     uint64 // ticks while awake
	Continuous   uint64 // ticks since boot, 0 if not sent
	Numer, Denom int64  // Numer/Denom is the length of a tick in nanoseconds
	Time         time.Time
	Zone         string
}

// Duration returns the length of a number of ticks.
func (m MachTime) Duration(ticks uint64) time.Duration {
	if m.Denom == 0 {
		return 0
	}
	return time.Duration(float64(ticks) * float64(m.Numer) / float64(m.Denom))
}

// MachTime returns the clocks of the device. Time stamps of other channels refer to
// them.
func (s *Session) MachTime(ctx context.Context) (MachTime, error) {
	const op = "mach time"
	list, err := ask[[]any](ctx, s, op, "", ChannelDeviceInfo, "machTimeInfo")
	if err != nil {
		return MachTime{}, err
	}
	var m MachTime
	at := func(i int) any {
		if i < len(list) {
			return list[i]
		}
		return nil
	}
	var ok, ok1, ok2 bool
	m.Absolute, ok = nskeyed.Uint(at(0))
	m.Numer, ok1 = nskeyed.Int(at(1))
	m.Denom, ok2 = nskeyed.Int(at(2))
	if !ok || !ok1 || !ok2 || m.Numer <= 0 || m.Denom <= 0 {
		return MachTime{}, unexpected(op, "", list)
	}
	m.Continuous, _ = nskeyed.Uint(at(3))
	if seconds, ok := nskeyed.Real(at(4)); ok && math.Abs(seconds) < 1<<40 {
		whole, part := math.Modf(seconds)
		m.Time = time.Unix(int64(whole), int64(part*1e9)).UTC()
	}
	m.Zone, _ = at(5).(string)
	return m, nil
}

// KernelName returns the name of the kernel image.
func (s *Session) KernelName(ctx context.Context) (string, error) {
	return ask[string](ctx, s, "kernel name", "", ChannelDeviceInfo, "machKernelName")
}

// TraceCodes returns the names of the kernel events, one per line: "0x1020000
// KTrap_DivideError".
func (s *Session) TraceCodes(ctx context.Context) (string, error) {
	return ask[string](ctx, s, "trace codes", "", ChannelDeviceInfo, "traceCodesFile")
}

// ProcessAttributes lists the attributes that Sysmon can sample for a process.
func (s *Session) ProcessAttributes(ctx context.Context) ([]string, error) {
	return askStrings(ctx, s, "process attributes", ChannelDeviceInfo, "sysmonProcessAttributes")
}

// SystemAttributes lists the attributes that Sysmon can sample for the device.
func (s *Session) SystemAttributes(ctx context.Context) ([]string, error) {
	return askStrings(ctx, s, "system attributes", ChannelDeviceInfo, "sysmonSystemAttributes")
}
