// Package logs gives scripts the log of a device: live entries, the text lines of
// com.apple.syslog_relay, and archives.
package logs

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
)

// Entry is the record of one log entry.
type Entry struct {
	Time      time.Time `lua:"time" doc:"when, to the microsecond"`
	PID       int       `lua:"pid" doc:"process id"`
	Process   string    `lua:"process" doc:"short name of the process"`
	Image     string    `lua:"image" doc:"executable or library that spoke"`
	Level     string    `lua:"level" doc:"debug, info, default, error or fault; gap, see field gap"`
	Subsystem string    `lua:"subsystem" doc:"such as com.apple.network; empty when there is none"`
	Category  string    `lua:"category" doc:"part of the subsystem"`
	Message   string    `lua:"message" doc:"text"`
	Thread    uint64    `lua:"thread" doc:"thread id"`
	Gap       *float64  `lua:"gap" doc:"in an entry that marks a lost connection: seconds without"`
}

// Line is the record of one line of the text log.
type Line struct {
	Time    time.Time `lua:"time" doc:"when, to the second"`
	PID     int       `lua:"pid" doc:"process id"`
	Process string    `lua:"process" doc:"short name of the process"`
	Image   string    `lua:"image" doc:"library that spoke"`
	Level   string    `lua:"level" doc:"as written, such as Notice; gap, see field gap"`
	Message string    `lua:"message" doc:"text"`
	Raw     string    `lua:"raw" doc:"the line as it came"`
	Gap     *float64  `lua:"gap" doc:"in a line that marks a lost connection: seconds without it"`
}

type options struct {
	device.Timeout
	stream.ResumeOption
	PID       *int   `lua:"pid" doc:"only this process; the device filters"`
	Process   string `lua:"process" doc:"short name of processes, or bundle id of an app"`
	Level     string `lua:"level" doc:"this level and above: debug, info, default, error, fault"`
	Match     string `lua:"match" doc:"text that the message must contain"`
	Subsystem string `lua:"subsystem" doc:"only this subsystem"`
	Category  string `lua:"category" doc:"only this category"`
	Queue     int    `lua:"queue" doc:"entries that wait for a slow script; default 65536"`
}

// ranks orders the names of the levels.
var ranks = map[string]int{"": 0, "debug": 0, "info": 1, "default": 2, "error": 3, "fault": 4}

// names maps the levels to the names that scripts use.
var names = map[ostracerelay.Level]string{
	ostracerelay.Debug: "debug", ostracerelay.Info: "info", ostracerelay.Default: "default",
	ostracerelay.Err: "error", ostracerelay.Fault: "fault",
}

func levelName(l ostracerelay.Level) string {
	if n, ok := names[l]; ok {
		return n
	}
	return "default"
}

// accepts applies the conditions that the device does not filter by.
func (o *options) accepts(e *ostracerelay.Entry) bool {
	return ranks[levelName(e.Level)] >= ranks[o.Level] &&
		(o.Process == "" || e.Process() == o.Process) &&
		(o.Subsystem == "" || e.Subsystem == o.Subsystem) &&
		(o.Category == "" || e.Category == o.Category) &&
		(o.Match == "" || strings.Contains(e.Message, o.Match))
}

// batch is the most entries that are decoded before they are pushed.
const batch = 256

// live is dev:syslog.
func live(c *api.Call, d *device.Device, o options) (api.Opened[*stream.Stream], error) {
	var none api.Opened[*stream.Stream]
	if _, ok := ranks[o.Level]; !ok {
		known := "debug, info, default, error, fault"
		return none, c.ArgError(1, "unknown level %q (known: %s)", o.Level, known)
	}
	limit, err := o.Limit(c, 1)
	if err != nil {
		return none, err
	}
	activity := ostracerelay.Activity{NoDebug: ranks[o.Level] >= ranks["default"]}
	if o.PID != nil {
		activity.PID, activity.Kernel = *o.PID, *o.PID == 0
	}
	named := !strings.Contains(o.Process, ".")
	connect := func(ctx context.Context) (*stream.Opening, error) {
		if !named {
			name, err := executable(ctx, d, o.Process)
			if err != nil {
				return nil, err
			}
			o.Process, named = name, true
		}
		s, err := startActivity(ctx, d, activity)
		if err != nil {
			return nil, err
		}
		read := func(ctx context.Context, push func(...any)) error {
			return d.Ended(pump(ctx, s, &o, push))
		}
		return &stream.Opening{Source: read, Stop: s.Close, Malformed: s.Malformed}, nil
	}
	return device.OpenStream(c, d, o.Timeout, device.Live{
		Open: connect, Limit: limit, Gap: entryGap,
		Options: stream.Options{
			Kind: "syslog", Queue: o.Queue,
			Text: func(v any) string { return v.(*Entry).Message },
			Size: func(v any) int { return len(v.(*Entry).Message) },
		},
	})
}

// startActivity opens a connection and starts the live log on it.
func startActivity(
	ctx context.Context, d *device.Device, a ostracerelay.Activity,
) (*ostracerelay.Stream, error) {
	client, err := ostracerelay.Connect(ctx, d)
	if err != nil {
		return nil, err
	}
	s, err := client.StartActivity(ctx, a)
	if err != nil {
		client.Close()
		return nil, err
	}
	return s, nil
}

// levelGap is the level of an entry that marks a gap. It passes every filter.
const levelGap = "gap"

func entryGap(t time.Duration) any {
	seconds := t.Seconds()
	return &Entry{
		Time: time.Now(), Level: levelGap, Message: stream.GapText(t), Gap: &seconds,
	}
}

func lineGap(t time.Duration) any {
	seconds := t.Seconds()
	text := stream.GapText(t)
	return &Line{Time: time.Now(), Level: levelGap, Message: text, Raw: text, Gap: &seconds}
}

// pump reads entries and pushes those that o accepts. The entries of a batch share one
// allocation.
func pump(ctx context.Context, s *ostracerelay.Stream, o *options, push func(...any)) error {
	raw := make([]ostracerelay.Entry, batch)
	out := make([]any, 0, batch)
	for {
		n, err := s.NextBatch(ctx, raw)
		if err != nil {
			return err
		}
		kept := make([]Entry, 0, n)
		out = out[:0]
		for i := range raw[:n] {
			e := &raw[i]
			if !o.accepts(e) {
				continue
			}
			kept = append(kept, Entry{
				Time: e.Time, PID: e.PID, Process: e.Process(), Image: e.Image(),
				Level: levelName(e.Level), Subsystem: e.Subsystem, Category: e.Category,
				Message: e.Message, Thread: e.ThreadID,
			})
			out = append(out, &kept[len(kept)-1])
		}
		if len(out) > 0 {
			push(out...)
		}
	}
}

// executable returns the process name of the app with bundle identifier id. If there is no
// such app, it returns id.
func executable(ctx context.Context, d *device.Device, id string) (string, error) {
	client, err := installationproxy.Connect(ctx, d)
	if err != nil {
		return "", err
	}
	defer client.Close()
	found, err := client.Lookup(ctx, installationproxy.Options{BundleIDs: []string{id}})
	if err != nil {
		return "", err
	}
	if a, ok := found[id]; ok && a.Executable != "" {
		return a.Executable, nil
	}
	return id, nil
}

type textOptions struct {
	device.Timeout
	stream.ResumeOption
}

// text is dev:syslog_text.
func text(c *api.Call, d *device.Device, o textOptions) (api.Opened[*stream.Stream], error) {
	limit, err := o.Limit(c, 1)
	if err != nil {
		return api.Opened[*stream.Stream]{}, err
	}
	return device.OpenStream(c, d, o.Timeout, device.Live{
		Open:  func(ctx context.Context) (*stream.Opening, error) { return openText(ctx, d) },
		Limit: limit, Gap: lineGap,
		Options: stream.Options{
			Kind: "syslog text", Text: func(v any) string { return v.(*Line).Raw },
			Size: func(v any) int { return len(v.(*Line).Raw) },
		},
	})
}

// openText opens a connection and starts the text log on it.
func openText(ctx context.Context, d *device.Device) (*stream.Opening, error) {
	client, err := syslogrelay.Connect(ctx, d)
	if err != nil {
		return nil, err
	}
	line := func(e syslogrelay.Entry) any {
		return &Line{
			Time: e.Time, PID: e.PID, Process: e.Process, Image: e.Image,
			Level: string(e.Level), Message: e.Message, Raw: e.Raw,
		}
	}
	return &stream.Opening{
		Source: device.Each(d, client.Next, line), Stop: client.Close, Malformed: client.Malformed,
	}, nil
}

type archiveOptions struct {
	device.Timeout
	device.Idle
	MaxSize int64 `lua:"max_size" doc:"at most so many bytes"`
	MaxDays int   `lua:"max_days" doc:"at most so many days back"`
}

func archive(
	c *api.Call, d *device.Device, path string, o archiveOptions,
) (n int64, err error) {
	if o.Timeout.Timeout == 0 {
		o.Timeout.Timeout = api.NoTimeout // only idle_timeout bounds the transfer
	}
	limits := ostracerelay.ArchiveOptions{
		SizeLimit: o.MaxSize, AgeLimit: o.MaxDays, Idle: o.Limit(),
	}
	copyTo := func(ctx context.Context, client *ostracerelay.Client) (err error) {
		n, err = device.Store(ctx, path, func(w io.Writer) (int64, error) {
			return client.CreateArchive(ctx, w, limits)
		})
		return err
	}
	err = device.With(c, d, o.Timeout, ostracerelay.Connect, copyTo)
	return n, err
}

// Family returns the methods syslog, syslog_text and log_archive of Device.
func Family() device.Family {
	raises := api.Raises("timeout", "not_paired", "disconnected", "PasswordProtected")
	return device.Family{
		Records: []*api.Record{
			api.NewRecord[Entry]("SyslogEntry", "One entry of the log."),
			api.NewRecord[Line]("SyslogLine", "One line of the text log."),
		},
		Methods: []*api.Func{
			api.Method("syslog", "Returns the live log as a stream of entries. It begins at once: "+
				"what is logged from here on is in the stream, even when it is read later. The "+
				"device itself filters by pid, and by level from default on. When the device is "+
				"unplugged or restarts the log waits for it and goes on with an entry of level "+
				"gap, which passes every filter. `resume` is how many seconds it waits; with 0 or "+
				"false it fails with disconnected at once.",
				"opts?", live,
				api.ParamDoc("opts", "what to let through, how long to wait for a lost device, "+
					"timeout for the opening"),
				raises,
				api.Returns("Stream stream"),
				api.Perm("read"),
				api.Example(`local dev = device()
local log = dev:syslog{ level = "info" }
for e in log do print(e.process, e.message) break end`)),
			api.Method("syslog_text", "Returns the live log as text lines "+
				"(com.apple.syslog_relay), as devices before iOS 10 have it. It goes on after a "+
				"lost connection as syslog does.",
				"opts?", text,
				api.ParamDoc("opts", "how long to wait for a lost device, timeout for the opening"),
				raises,
				api.Returns("Stream stream"),
				api.Perm("read"),
				api.Example(`local dev = device()
print(dev:syslog_text():next(10).raw)`)),
			api.Method("log_archive", "Stores the device's log as a tar file with the contents of "+
				"a .logarchive. Returns its size. It may take as long as data comes, unless you "+
				"give a timeout.",
				"path opts?", archive,
				api.ParamDoc("path", "local file to write"),
				api.StringKind("path", "path"),
				api.Access("path", host.AccessWrite),
				api.ParamDoc("opts", "how much, timeout, idle_timeout"),
				raises,
				api.Returns("integer bytes"),
				api.Perm("read"),
				api.Example(`local dev = device()
local dir = fs.temp_dir and fs.temp_dir() or "."
print(dev:log_archive(dir .. "/log.tar") > 0)`)),
		},
	}
}
