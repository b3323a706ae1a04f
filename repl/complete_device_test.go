package repl_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/repl"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// scriptedUser is a LineEditor that returns inputs, calls then, and ends.
type scriptedUser struct {
	inputs   []string
	then     func(complete repl.Completer)
	out      io.Writer
	complete repl.Completer
}

func (p *scriptedUser) ReadLine(string) (string, error) {
	if len(p.inputs) == 0 {
		p.then(p.complete)
		return "", io.EOF
	}
	text := p.inputs[0]
	p.inputs = p.inputs[1:]
	return text, nil
}

func (p *scriptedUser) SetCompleter(c repl.Completer) { p.complete = c }
func (p *scriptedUser) AddHistory(string)             {}
func (p *scriptedUser) Output() io.Writer             { return p.out }
func (p *scriptedUser) Close() error                  { return nil }

// services begins the identifiers of channels and may be left out.
const services = "com.apple.instruments.server.services."

// TestCompleteDVT completes the names of Instruments channels and selectors, with a
// virtual device and all modules that users have.
func TestCompleteDVT(t *testing.T) {
	t.Parallel()
	vh := virtualtest.Host(t, virtual.HostOptions{
		Device: virtual.Options{Boot: 1, Phone: phone.Options{Profile: "ios16"}},
	})
	finder := virtualtest.Finder(t, vh, device.Options{})
	var out bytes.Buffer
	output := repl.NewOutput(&out)
	h := host.New(host.Options{Stdout: output, Stderr: output})
	t.Cleanup(func() { h.Close() })
	devicetest.Install(t, h, finder, vh)
	check := func(complete repl.Completer) {
		for _, test := range []struct{ line, insert, list string }{
			{`dvt:call("devicei`, "nfo", ""},
			{
				`dvt:call("`, "",
				strings.ReplaceAll(strings.Join(dvt.Channels(), " "), services, ""),
			},
			{`dvt:call("com.apple.instruments.server.services.Cond`, "itionInducer", ""},
			{`dvt:call("screenshot", "`, "takeScreenshot", ""},
			{
				`dvt:call("com.apple.instruments.server.services.screenshot", "take`, "Screenshot",
				"",
			},
			{`print(dvt:call("sysmontap", "s`, "", "setConfig: start stop"},
			{`dvt:call("nothing", "`, "", ""},
			{`dvt:call("sysmontap", "start", "`, "", ""},
			{`ch:call("`, "s", ""},
			{`ch:call("s`, "", "setConfig: start stop"},
			{`ch:send("sto`, "p", ""},
			{`dvt:channel("scr`, "eenshot", ""},
			{`dvt:selectors("scr`, "eenshot", ""},
			{`dev:dvt_call("screenshot", "t`, "akeScreenshot", ""},
			{`dev:dvt():call("screenshot", "t`, "akeScreenshot", ""}, // without opening it
			{`dvt:call("LocationSimulation", "simulateLocationWithLatitude:`, "longitude:", ""},
		} {
			insert, lines := complete(test.line, len(test.line))
			for i, l := range lines {
				lines[i] = strings.TrimSpace(l)
			}
			if insert != test.insert {
				t.Errorf("%s inserts %q, want %q", test.line, insert, test.insert)
			}
			if list := strings.Join(lines, " "); list != test.list {
				t.Errorf("%s lists %q, want %q", test.line, list, test.list)
			}
		}
	}
	o := repl.Options{Host: h, Editor: &scriptedUser{
		inputs: []string{"dev = device();", "dvt = dev:dvt();", `ch = dvt:channel("sysmontap");`},
		then:   check, out: &out,
	}, Output: output}
	if err := repl.Run(virtualtest.Context(t), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
}
