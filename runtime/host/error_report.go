package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/imdlua/imdlua/runtime/host/visible"
	"github.com/imdlua/imdlua/runtime/host/vm"
)

// Report writes err for people: what failed, the source line, the hint and the
// traceback. With Options.ErrorsJSON it writes one JSON object on a line instead.
// Options.Color adds colours. For nil and an ExitError it writes nothing.
func (h *Host) Report(w io.Writer, err error) {
	var exit *ExitError
	if err == nil || errors.As(err, &exit) {
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		e = h.ToError(err)
	}
	if e.reported {
		return
	}
	if h.o.ErrorsJSON {
		io.WriteString(w, h.safe(h.reportJSON(e)))
		return
	}
	var b strings.Builder
	h.reportText(&b, e)
	io.WriteString(w, b.String())
}

// safe makes text of an error safe to print on a terminal. The text may contain
// what a device has sent.
func (h *Host) safe(text string) string {
	if h.o.Terminal.Stderr {
		return visible.Text(text)
	}
	return text
}

// text returns a text of an error as it is printed in a report. Its further lines
// are marked, so that none can be mistaken for a line of the report.
func (h *Host) text(s string) string { return visible.Marked(h.safe(s)) }

// line returns s as it is printed in a report, joined to a single line.
func (h *Host) line(s string) string { return visible.Joined(h.safe(s)) }

func (h *Host) paint(code, s string) string {
	if !h.o.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (h *Host) reportText(b *strings.Builder, e *Error) {
	b.WriteString(h.paint("1;31", h.line("error["+e.Code+"]")) + " ")
	if e.Service != "" && !strings.HasPrefix(e.Message, e.Service+":") {
		b.WriteString(h.line(e.Service) + ": ")
	}
	b.WriteString(h.paint("1", h.text(e.Message)) + "\n")
	if e.Where != "" {
		b.WriteString(h.paint("34", "  --> ") + h.line(e.Where))
		line, before := h.excerpt(e)
		if line != "" {
			b.WriteString(":  " + h.line(line))
		}
		b.WriteByte('\n')
		if before >= 0 {
			indent := len("  --> ") + runewidth.StringWidth(h.line(e.Where)) + len(":  ") + before
			b.WriteString(strings.Repeat(" ", indent) + h.paint("1;31", "^") + "\n")
		}
	}
	var facts []string
	if e.Device != "" {
		facts = append(facts, "device: "+e.Device)
	}
	if e.Op != "" {
		facts = append(facts, "op: "+e.Op)
	}
	if len(facts) > 0 {
		b.WriteString("  " + h.line(strings.Join(facts, "  ")) + "\n")
	}
	if e.Hint != "" {
		b.WriteString(h.paint("36", "  hint: ") + h.text(e.Hint) + "\n")
	}
	for c := causeOf(e); c != nil; c = causeOf(c) {
		b.WriteString("  cause: " + h.text(c.Message) + "\n")
	}
	for _, s := range e.Suppressed {
		b.WriteString("  also, while closing: " + h.text(s.Error()) + "\n")
	}
	h.reportTrace(b, e)
}

// causeOf returns the cause of e, or nil if the message of e already contains its
// message.
func causeOf(e *Error) *Error {
	c, ok := e.Cause.(*Error)
	if !ok || strings.Contains(e.Message, c.Message) {
		return nil
	}
	return c
}

func (h *Host) reportTrace(b *strings.Builder, e *Error) {
	trace := h.visible(e.Traceback)
	if len(trace) > 0 {
		b.WriteString("traceback:\n")
	}
	for i, f := range trace {
		if len(trace) > 24 && i >= 16 && i < len(trace)-6 {
			if i == 16 {
				fmt.Fprintf(b, "  ... %d more\n", len(trace)-22)
			}
			continue
		}
		b.WriteString("  " + h.line(f.String()) + "\n")
	}
	if h.o.Verbose && e.goStack != "" {
		b.WriteString("go stack:\n" + strings.TrimRight(e.goStack, "\n") + "\n")
	}
}

// visible removes the frames of embedded modules, which do not concern the author
// of a script. With Options.Verbose they stay.
func (h *Host) visible(trace []Frame) []Frame {
	if h.o.Verbose {
		return trace
	}
	var out []Frame
	for _, f := range trace {
		if !strings.HasPrefix(f.File, embeddedPrefix) {
			out = append(out, f)
		}
	}
	return out
}

type jsonError struct {
	Code       string         `json:"code"`
	Message    string         `json:"message"`
	Service    string         `json:"service,omitempty"`
	Op         string         `json:"op,omitempty"`
	Device     string         `json:"device,omitempty"`
	Hint       string         `json:"hint,omitempty"`
	Where      string         `json:"where,omitempty"`
	Source     string         `json:"source,omitempty"`
	Details    map[string]any `json:"details,omitempty"`
	Cause      string         `json:"cause,omitempty"`
	Suppressed []string       `json:"suppressed,omitempty"`
	Traceback  []Frame        `json:"traceback,omitempty"`
	GoStack    string         `json:"go_stack,omitempty"`
	ExitCode   int            `json:"exit_code"`
}

func (h *Host) reportJSON(e *Error) string {
	j := jsonError{
		Code: e.Code, Message: e.Message, Service: e.Service, Op: e.Op, Device: e.Device,
		Hint:  e.Hint,
		Where: e.Where, Source: shorten(h.sourceLine(e.Where)), Details: e.Details,
		Traceback: h.visible(e.Traceback), ExitCode: ExitCode(e),
	}
	if e.Cause != nil {
		j.Cause = e.Cause.Error()
	}
	for _, s := range e.Suppressed {
		j.Suppressed = append(j.Suppressed, s.Error())
	}
	if h.o.Verbose {
		j.GoStack = e.goStack
	}
	out, err := json.Marshal(j)
	if err != nil {
		// Details may hold what JSON cannot carry.
		j.Details = map[string]any{"text": fmt.Sprint(e.Details)}
		out, _ = json.Marshal(j)
	}
	return string(out) + "\n"
}

// maxExcerpt is the largest number of characters of a source line that a report
// shows.
const maxExcerpt = 120

// excerpt returns the source line of an error as a report shows it, and the number
// of terminal cells before the column of the error, or -1 if that is not known.
func (h *Host) excerpt(e *Error) (line string, before int) {
	line = h.sourceLine(e.Where)
	column, ok := e.Details["column"].(int)
	if !ok || line == "" {
		return shorten(line), -1
	}
	text := []rune(strings.ReplaceAll(line, "\t", " "))
	at := min(max(column-1, 0), len(text))
	from := len(text) - len([]rune(strings.TrimLeft(string(text), " ")))
	if at-from > maxExcerpt*3/4 {
		from = at - maxExcerpt/2
	}
	from = min(from, at)
	return shorten(string(text[from:])), runewidth.StringWidth(string(text[from:at]))
}

func shorten(line string) string {
	line = strings.TrimSpace(line)
	if r := []rune(line); len(r) > maxExcerpt {
		return string(r[:maxExcerpt-3]) + "..."
	}
	return line
}

// sourceLine returns the text of the line at "file:line", or "" if it is not known.
func (h *Host) sourceLine(at string) string {
	i := strings.LastIndexByte(at, ':')
	if i < 0 || !vm.Digits(at[i+1:]) {
		return ""
	}
	file, line := at[:i], 0
	fmt.Sscan(at[i+1:], &line)
	h.mu.Lock()
	src, known := h.sources[file]
	h.mu.Unlock()
	if !known && strings.HasSuffix(file, ".lua") {
		if b, err := os.ReadFile(file); err == nil && len(b) <= maxSource {
			src = string(b)
		}
	}
	lines := strings.SplitN(src, "\n", line+1)
	if line < 1 || line > len(lines) {
		return ""
	}
	return strings.TrimRight(lines[line-1], " \t\r")
}

// Warn prints what the user has to know although the script goes on. With
// Options.ErrorsJSON it prints an object with the member warning. It does not wait for
// the stream.
func (h *Host) Warn(text string) {
	line := h.paint("33", "warning: ") + h.text(text)
	if h.o.ErrorsJSON {
		b, _ := json.Marshal(map[string]string{"warning": text}) // no error: it is a string
		line = h.safe(string(b))
	}
	io.WriteString(h.stderr.Styled(), line+"\n")
}

// warn prints an error that does not end the run. It does not wait for the stream.
func (h *Host) warn(what string, err error) {
	var b strings.Builder
	if !h.o.ErrorsJSON {
		b.WriteString(h.paint("33", "warning: ") + h.text(what) + "\n")
	}
	h.Report(&b, err)
	io.WriteString(h.stderr.Styled(), b.String())
}
