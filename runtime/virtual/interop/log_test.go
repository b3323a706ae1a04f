//go:build linux

package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// until repeats do until the program prints a line with text: a program that
// says it is listening is a little ahead of the device that has to hear it.
func (p *process) until(text string, every time.Duration, do func()) {
	p.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for do(); ; {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.Fatalf("%s ended before %q: %s", p.cmd, text, strings.Join(p.seen, "\n"))
			}
			p.seen = append(p.seen, line)
			if strings.Contains(line, text) {
				return
			}
		case <-tick.C:
			do()
		case <-p.ctx.Done():
			p.Fatalf("%s did not print %q: %s", p.cmd, text, strings.Join(p.seen, "\n"))
		}
	}
}

// say writes a line into the phone's log, as one of its processes.
func (r *rig) say(process string, level log.Level, message string) {
	r.Helper()
	proc, ok := r.phone().Processes.Named(process)
	if !ok {
		r.Fatalf("the phone runs no %s", process)
	}
	r.phone().Log.Write(log.Entry{PID: proc.PID, Level: level, Message: message})
}

func TestIdeviceSyslog(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	p := r.start("idevicesyslog", "--no-colors", "-x")
	p.line("[connected]")
	p.until("are you there", 10*time.Millisecond,
		func() { r.say("SpringBoard", 0, "are you there") })
	r.say("SpringBoard", 0, "let us begin")
	proc, _ := r.phone().Processes.Named("SpringBoard")
	for _, c := range []struct {
		level log.Level
		name  string
	}{{0, "Notice"}, {log.LevelError, "Error"}, {log.LevelFault, "Fault"}} {
		r.say("SpringBoard", c.level, "level "+c.name)
		want := fmt.Sprintf("SpringBoard[%d] <%s>: level %s", proc.PID, c.name, c.name)
		if line := p.line("level "); !strings.HasSuffix(line, want) {
			t.Errorf("line %q, want it to end with %q", line, want)
		}
	}
	// Nothing may be lost or change its order.
	const n = 2000
	for i := range n {
		r.say("SpringBoard", 0, fmt.Sprintf("number %d of many", i))
	}
	for i := range n {
		if line := p.line(" of many"); !strings.HasSuffix(line,
			fmt.Sprintf(": number %d of many", i)) {
			t.Fatalf("line %q, want number %d", line, i)
		}
	}
	r.machine().Detach()
	if code := p.wait(); code != 0 {
		t.Errorf("exit status %d after the phone was unplugged", code)
	}
}

func TestIdeviceSyslogFilter(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	p := r.start("idevicesyslog", "--no-colors", "-p", "locationd|kernel")
	p.line("[connected]")
	p.until("are you there", 10*time.Millisecond, func() { r.say("locationd", 0, "are you there") })
	r.say("SpringBoard", 0, "not for you")
	r.say("kernel", 0, "from the kernel")
	r.say("locationd", 0, "the last word")
	p.line("from the kernel")
	p.line("the last word")
	for _, line := range p.seen[1:] {
		if !strings.Contains(line, " locationd[") && !strings.Contains(line, " kernel[0]") {
			t.Errorf("line of another process: %q", line)
		}
	}
	if code := p.interrupt(); code != 0 {
		t.Errorf("exit status %d after Ctrl-C", code)
	}
}

// TestIdeviceSyslogTalks listens to the phone's own chatter.
func TestIdeviceSyslogTalks(t *testing.T) {
	t.Parallel()
	r := plug(t, virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{LogRate: 500}}})
	p := r.start("idevicesyslog", "--no-colors")
	for range 200 {
		p.line(">: ")
	}
	if code := p.interrupt(); code != 0 {
		t.Errorf("exit status %d after Ctrl-C", code)
	}
}

func TestIdeviceNotificationProxy(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	p := r.start("idevicenotificationproxy", "observe", "com.example.first",
		notifications.DeviceName, "com.example.last")
	p.line("com.example.last") // "! observing"
	// The tool takes one notification a second, so it must not get many.
	p.until(
		"> com.example.last",
		time.Second/2,
		func() { r.phone().Notifications.Post("com.example.last") },
	)
	r.phone().Notifications.Post("com.example.unheard")

	// The tool may print its connection's end as one more notification.
	if got := r.output("idevicenotificationproxy", "post", "com.example.first"); !strings.HasPrefix(
		got, "< posting \"com.example.first\"\n",
	) {
		t.Errorf("post printed %q", got)
	}
	p.line("> com.example.first")
	r.output("idevicename", "Another name")
	p.line("> " + notifications.DeviceName)
	for _, line := range p.seen {
		if strings.Contains(line, "unheard") {
			t.Errorf("a notification that nobody observes: %q", line)
		}
	}
	if code := p.interrupt(); code != 0 {
		t.Errorf("exit status %d after Ctrl-C", code)
	}
}
