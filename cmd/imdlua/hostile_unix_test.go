//go:build !windows

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/host/visible"
)

// hostileName sets the title of a terminal, adds a line, reverses the direction of text, and begins
// a sequence with a C1 control.
const hostileName = "A\x1b]0;owned\x07B\x1b[31mC\nD\u202eE\u009b2JF"

// shownName is hostileName as it is shown on one line.
const shownName = `A\x1b]0;owned\x07B\x1b[31mC\nD\u202eE\u009b2JF`

// shownLines is hostileName as it is shown where line breaks are allowed.
const shownLines = `A\x1b]0;owned\x07B\x1b[31mC` + "\r\n" + `D\u202eE\u009b2JF`

// shownReport is hostileName as a report of an error shows it.
const shownReport = `A\x1b]0;owned\x07B\x1b[31mC` + "\r\n" + visible.Mark +
	`D\u202eE\u009b2JF`

// hostileTunneld answers with a list that has a hostile identifier, or with a
// hostile refusal.
func hostileTunneld(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		var answer any = map[string]any{"detail": hostileName}
		if status == http.StatusOK {
			answer = map[string]any{hostileName: []any{map[string]any{
				"tunnel-address": "127.0.0.1", "tunnel-port": 9, "interface": hostileName,
			}}}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// commandsWithoutDevices write no text of a device or a daemon. TestHostileBrowse tests browse,
// which needs a network.
var commandsWithoutDevices = []string{
	"virtual", "types", "docs", "version", "browse", "help", "completion",
}

// TestHostileTerminal runs the commands on a terminal, with a device and a tunneld whose texts have
// control characters. None of them may be written to the terminal.
func TestHostileTerminal(t *testing.T) {
	t.Parallel()
	mux, _ := serve(t, "--name", hostileName, "--echo", "7")
	asking, _ := serve(t, "--name", hostileName, "--trust", "1")
	other, _ := serve(t, "--name", hostileName)
	list, refusing := hostileTunneld(t, http.StatusOK), hostileTunneld(t, http.StatusTeapot)
	script := func(code string) []string {
		return []string{"--usbmux", mux, "-e", "local term = require('imd.term') " +
			"local name = device().name " + code}
	}
	const mark = `A\x1b]0;owned`
	rows := []hostileRow{
		{"devices", []string{"--usbmux", mux, "devices"}, shownName, "", 0, wantPlain},
		{"devices json", []string{"--usbmux", mux, "devices", "--json"}, `\u202e`, "", 0,
			wantPlain},
		{"devices watch", []string{"--usbmux", mux, "devices", "--watch"}, mark, "owned", 0,
			wantPlain},
		{"unreachable tunnel", []string{"--tunneld", list, "--tunnel=", "devices"}, "", "", 4,
			wantPlain},
		{"refusal of a tunneld", []string{"--tunneld", refusing, "--tunnel=", "devices"},
			mark, "", 1, wantPlain},
		{"refusal as JSON", []string{"--errors", "json", "--tunneld", refusing, "--tunnel=",
			"devices"}, `\u202e`, "", 1, wantPlain},
		{"trace", []string{"--trace", "all", "--usbmux", mux, "info", "-k", "DeviceName"},
			"layer=", "", 0, wantPlain},
		{"info", []string{"--usbmux", mux, "info"}, "DeviceName: " + shownName + "\r\n", "", 0,
			wantPlain},
		{"info key", []string{"--usbmux", mux, "info", "-k", "DeviceName"}, shownLines, "", 0,
			wantPlain},
		{"info json", []string{"--usbmux", mux, "info", "--json"}, `\u202e`, "", 0, wantPlain},
		{"pair", []string{"--usbmux", asking, "pair"}, shownName + " (", "", 0, wantPlain},
		{"unpair", []string{"--usbmux", other, "unpair"}, "", "", 1, wantPlain},
		{"records", []string{"--usbmux", mux, "records"}, "", "", 0, wantPlain},
		{"wifi", []string{"--usbmux", mux, "wifi"}, "on\r\n", "", 0, wantPlain},
		{"forward", []string{"--usbmux", mux, "forward", "0:7"}, "", "-> 7 of", 0, wantPlain},
		{"tunnel", []string{"--usbmux", mux, "tunnel"}, "", "use  ", 0, wantPlain},
		{"tunneld", []string{"--usbmux", mux, "tunneld", "--no-network", "--listen",
			"127.0.0.1:0", "--go-ios", ""}, "", "is up", 0, wantPlain},
		{"service", []string{"--usbmux", mux, "service", hostileName}, shownName + ": open", "", 1,
			wantEdited},
		{"usage", []string{"info", hostileName}, mark, "", 2, wantPlain},
		{"print", script("print(name)"), `A\x1b]0;owned\x07B`, "", 0, wantStyled},
		{"print colours", script(`print("\27[32mgreen\27[0m")`), "\x1b[32mgreen\x1b[0m", "", 0,
			wantStyled},
		{"table", script("print(term.table{ { name = name } })"), `\x07B`, "", 0, wantStyled},
		{"p", script("p{ [name] = name } p(device())"), `\027`, "", 0, wantPlain},
		{"grid", script("p{ { [name] = 1, b = 2 }, { [name] = 1, b = 2 } }"), mark, "", 0,
			wantPlain},
		{"error", script("error(name)"), shownReport, "", 1, wantPlain},
		{"error object", script("error{ code = name, message = name, hint = name }"),
			shownReport, "", 1, wantPlain},
		{"refusal", script("device():service(name)"), mark, "", 1, wantPlain},
		{"warning", script("task.spawn(function() error(name) end) task.sleep(0.01)"),
			shownReport, "", 1, wantPlain},
		{"log", script("log.info(name, { [name] = name })"), mark, "", 0, wantPlain},
		{"spinner", script("local s = term.spinner(name) task.sleep(0.1) s:finish(name)"),
			`\x07B`, "", 0, wantStyled},
		{"question", script("term.choose(name, { name })"), `\x07B`, "Number", 130, wantStyled},
	}
	for _, test := range rows {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := startTerminal(t, nil, test.args...)
			if test.until != "" {
				s.await(t, test.until)
				s.signal(t, syscall.SIGINT)
			}
			s.want(t, test.code)
			<-s.read
			test.harmless(t, s.out.String())
			if !strings.Contains(s.out.String(), test.shown) {
				t.Errorf("it wrote %q, want %q in it", s.out, test.shown)
			}
		})
	}
	t.Run("io.write", func(t *testing.T) {
		t.Parallel()
		s := startTerminal(t, nil, script("io.write(name)")...)
		s.want(t, 0)
		<-s.read
		if got, want := s.out.String(), strings.ReplaceAll(hostileName, "\n", "\r\n"); got != want {
			t.Errorf("the terminal gets %q, want %q", got, want)
		}
	})
	t.Run("repl", func(t *testing.T) {
		t.Parallel()
		hostileREPL(t, mux)
	})
	wantRows(t, rows)
}

// hostileRow is a run of the program.
type hostileRow struct {
	name     string
	args     []string
	shown    string // expected in the output
	until    string // the program is interrupted after this output; "" if it ends by itself
	code     int
	harmless func(t *testing.T, out string)
}

// wantRows checks that every command has a row.
func wantRows(t *testing.T, rows []hostileRow) {
	t.Helper()
	_, c, end := newCLI(t.Context(), newProgram(t).app)
	defer end()
	for _, cmd := range c.rootCommand().Commands() {
		tested := cmd.Name() == "repl" || slices.ContainsFunc(rows, func(r hostileRow) bool {
			return slices.Contains(r.args, cmd.Name())
		})
		if !tested && !slices.Contains(commandsWithoutDevices, cmd.Name()) {
			t.Errorf("command %s has no row", cmd.Name())
		}
	}
}

// wantPlain checks that no control characters are left.
func wantPlain(t *testing.T, out string) {
	t.Helper()
	if shown := visible.Text(out); shown != out {
		t.Errorf("the terminal gets %q", out)
	}
}

// wantStyled does what wantPlain does for the output of scripts, which may have colours and lines
// of progress.
func wantStyled(t *testing.T, out string) {
	t.Helper()
	drawn := strings.NewReplacer("\x1b[?7l", "", "\x1b[?7h", "", "\r\x1b[J", "").Replace(out)
	if shown := visible.Styled(drawn); shown != drawn {
		t.Errorf("the terminal gets %q", out)
	}
}

// wantEdited checks that the sequences of the name are not in the output. It ignores other
// sequences, which the line editor writes.
func wantEdited(t *testing.T, out string) {
	t.Helper()
	for _, bad := range []string{"\x1b]0;", "\x07", "\x1b[31m", "\u202e", "\u009b"} {
		if strings.Contains(out, bad) {
			t.Errorf("the terminal gets %q in %q", bad, out)
		}
	}
}

// TestHostilePipe checks that output to a pipe has the text of the device unchanged, except that it
// cannot add a line to a list.
func TestHostilePipe(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t, "--name", hostileName)
	row := strings.ReplaceAll(hostileName, "\n", `\n`)
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"key", hostileName + "\n", []string{"info", "-k", "DeviceName"}},
		{"print", hostileName + "\n", []string{"-e", "print(device().name)"}},
		{"list", udids[0] + "  " + row + "  ", []string{"devices"}},
		{"info", "\nDeviceName: " + row + "\n", []string{"info"}},
	} {
		out, _ := newProgram(t, append([]string{"--usbmux", mux}, test.args...)...).check(t, 0)
		if !strings.Contains(out, test.want) {
			t.Errorf("%s: the pipe gets %q, want %q in it", test.name, out, test.want)
		}
	}
}

// hostileREPL shows the name of the device in the prompt, as a value and in an error.
func hostileREPL(t *testing.T, mux string) {
	s := startTerminal(t, nil, "--usbmux", mux, "repl")
	for _, input := range []string{
		"dev = device()", "dev.name", "dev", "error(dev.name)", ":i dev", "p(dev.name)",
		`dev:service(dev.name)`,
	} {
		s.enter(t, input)
	}
	s.leave(t)
	<-s.read
	wantEdited(t, s.out.String())
	for _, want := range []string{
		"imd(" + shownName + ", iOS 17.5.1)> ", `"A\027]0;owned`, "] " + shownReport,
		`Device<`, "InvalidService",
	} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("the terminal shows %q, want %q in it", s.out, want)
		}
	}
}
