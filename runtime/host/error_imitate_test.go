package host_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestReportOfHostileText puts lines that look like those of a report into every field
// that a device, a file name or a script can fill. They must not appear as lines of
// the report.
func TestReportOfHostileText(t *testing.T) {
	t.Parallel()
	const evil = "evil.lua:66 in evil"
	for _, lineBreak := range []string{
		"\n", "\r\n", "\r", "\v", "\f", "\u0085", "\u2028", "\u2029",
	} {
		hostile := func(name string) string {
			return name + strings.Join([]string{
				"", "error[evil] evil", "  --> evil.lua:1", "  hint: evil", "  cause: evil",
				"  device: evil", "  also, while closing: evil", "traceback:", "  " + evil,
				"go stack:", "warning: evil", "",
			}, lineBreak)
		}
		e := &host.Error{
			Code: hostile("code"), Message: hostile("message"), Service: hostile("service"),
			Op: hostile("op"), Device: hostile("device"), Hint: hostile("hint"),
			Where: hostile("where") + ":1", Cause: &host.Error{Message: hostile("because")},
			Suppressed: []error{errors.New(hostile("suppressed"))},
			Traceback:  []host.Frame{{File: hostile("file"), Line: 1, Name: hostile("name")}},
		}
		for _, terminal := range []bool{false, true} {
			h := host.New(host.Options{Terminal: host.Terminal{Stderr: terminal}})
			var report strings.Builder
			h.Report(&report, e)
			checkReport(t, fmt.Sprintf("line break %q, terminal %t", lineBreak, terminal),
				report.String())
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// checkReport checks that a report has one line for each field, and no other line
// without a mark.
func checkReport(t *testing.T, name, report string) {
	t.Helper()
	own := []string{
		"error[code", "  --> where", "  device: device", "  hint: hint", "  cause: because",
		"  also, while closing: suppressed", "traceback:", "  file",
	}
	every := strings.NewReplacer("\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n",
		"\u2028", "\n", "\u2029", "\n")
	for line := range strings.Lines(every.Replace(report)) {
		switch {
		case len(own) > 0 && strings.HasPrefix(line, own[0]):
			own = own[1:]
		case !strings.HasPrefix(line, "  | "):
			t.Errorf("%s: the report has the line %q:\n%s", name, line, report)
			return
		}
	}
	if len(own) > 0 {
		t.Errorf("%s: the report has no line %q:\n%s", name, own[0], report)
	}
}

// TestReportOfOwnLines reports a message and a hint of several lines.
func TestReportOfOwnLines(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	defer h.Close()
	var report strings.Builder
	h.Report(&report, &host.Error{Code: "error", Message: "two\nlines\n", Hint: "do\nthis"})
	want := "error[error] two\n  | lines\n  hint: do\n  | this\n"
	if got := report.String(); got != want {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
}
