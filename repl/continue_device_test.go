package repl_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/repl"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestGoesOnAfterStreams uses streams that have been closed: by the script, at the end
// of a scope, or because the device was detached. The next inputs must run.
func TestGoesOnAfterStreams(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		inputs []string
		want   []string // in this order
	}{
		{"closed by the script", []string{
			"s = dev:syslog()", "s:close()", "for x in s do print(x) end",
			"s:next()", "1 + 1",
		}, []string{"error[closed]", "2\n"}},
		{"closed while a loop reads it", []string{
			"s = dev:syslog()",
			"task.spawn(function() s:close() end) for x in s do end print('after')", "1 + 1",
		}, []string{"after\n", "2\n"}},
		{"closed by its scope", []string{
			"scope(function() s = dev:syslog() end)", "for x in s do print(x) end", "1 + 1",
		}, []string{"2\n"}},
		{"device went", []string{
			"s = dev:syslog{ resume = 0 }",
			`require("imd.virtual").list()[1]:detach()`,
			"for x in s do end", "1 + 1",
		}, []string{"error[disconnected]", "2\n"}},
		{"device went while a loop reads", []string{
			"s = dev:syslog{ resume = 0 }",
			`task.spawn(function() require("imd.virtual").list()[1]:detach() end)
			for x in s do end`, "1 + 1",
		}, []string{"error[disconnected]", "2\n"}},
		{"call of a device that went", []string{
			`require("imd.virtual").list()[1]:detach()`,
			`dev:get("DeviceName")`, "1 + 1",
		}, []string{"error[", "2\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vh := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
				Phone: phone.Options{Profile: "ios16"},
			}})
			finder := virtualtest.Finder(t, vh, device.Options{})
			var out bytes.Buffer
			output := repl.NewOutput(&out)
			h := host.New(host.Options{Stdout: output, Stderr: output})
			t.Cleanup(func() { h.Close() })
			devicetest.Install(t, h, finder, vh)
			inputs := append([]string{
				"dev = device()", "ask, answer = task.queue(1), task.queue(1)",
				`task.spawn(function()
					for n in function() return ask:get() end do answer:put(n * 2) end
				end)`,
			}, test.inputs...)
			inputs = append(inputs, `ask:put(21) print("the task says " .. answer:get())`)
			o := repl.Options{Host: h, Output: output, Editor: &scriptedUser{
				inputs: inputs, then: func(repl.Completer) {}, out: &out,
			}}
			if err := repl.Run(virtualtest.Context(t), o); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			rest := out.String()
			for _, want := range append(test.want, "the task says 42\n") {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("printed\n%s\nwant %q in it, in the order of %q",
						out.String(), want, test.want)
				}
				rest = after
			}
		})
	}
}
