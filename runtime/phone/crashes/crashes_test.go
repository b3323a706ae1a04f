package crashes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/crashes"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

var reportName = regexp.MustCompile(`^[A-Za-z.-]+-\d{4}-\d\d-\d\d-\d{6}(-\d{3})?\.ips$`)

// checkReport holds the form of an .ips file and returns header and body.
func checkReport(t *testing.T, p *phone.Phone, name string, b []byte) (head, body map[string]any) {
	t.Helper()
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || json.Unmarshal(line, &head) != nil || json.Unmarshal(rest, &body) != nil {
		t.Fatalf("%s is not a line of JSON and a body of JSON", name)
	}
	if !reportName.MatchString(path.Base(name)) {
		t.Errorf("odd name %s", name)
	}
	os, _ := head["os_version"].(string)
	if !strings.HasPrefix(os, "iPhone OS "+p.Identity.Version+" (") ||
		head["incident_id"] != body["incident"] || head["bug_type"] != body["bug_type"] {
		t.Errorf("%s: header %v", name, head)
	}
	stamp, _ := head["timestamp"].(string)
	if day := strings.ReplaceAll(stamp[:19], ":", ""); !strings.Contains(name,
		strings.Replace(day, " ", "-", 1)) {
		t.Errorf("%s has the timestamp %s", name, stamp)
	}
	return head, body
}

func TestCrashTree(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		bugs, dirs := map[any]int{}, map[string]int{}
		phonetest.EachFile(t, p.Crashes.Files, "/", func(name string, i files.Info) {
			if i.Kind == files.Directory {
				dirs[name] += 0
				return
			}
			dirs[path.Dir(name)]++
			if path.Ext(name) != ".ips" {
				return
			}
			b, err := p.Crashes.Files.ReadFile(name)
			if err != nil || int64(len(b)) != i.Size {
				t.Fatalf("%s: %d bytes of %d, %v", name, len(b), i.Size, err)
			}
			head, _ := checkReport(t, p, name, b)
			bugs[head["bug_type"]]++
		})
		if bugs[crashes.Crash] < 6 || bugs[crashes.Jetsam] == 0 || bugs[crashes.Panic] == 0 ||
			bugs[crashes.Stack] == 0 {
			t.Errorf("reports by type: %v", bugs)
		}
		if dirs["/"] < 6 || dirs["/Retired"] == 0 || dirs["/Panics"] == 0 ||
			dirs["/DiagnosticLogs"] == 0 {
			t.Errorf("files by directory: %v", dirs)
		}
	})
}

func TestCrash(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	proc, err := p.Processes.Launch("com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	file, err := p.Crash(proc.PID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Crashes.Files.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body := checkReport(t, p, file, b)
	if head["bundleID"] != "com.example.shop" || head["app_version"] != "4.0" ||
		body["pid"] != float64(proc.PID) || head["is_first_party"] != 0.0 {
		t.Errorf("header %v, pid %v", head, body["pid"])
	}
	if _, ok := p.Processes.OfApp("com.example.shop"); ok {
		t.Error("the app still runs")
	}
	log := p.Log.History()
	last := log[len(log)-1]
	if path.Base(
		last.ProcessPath,
	) != "osanalyticshelper" || path.Base(last.ImagePath) != "OSAnalytics" ||
		!strings.HasPrefix(last.Message, "Saved type ") ||
		!strings.HasSuffix(last.Message, "/"+file) {
		t.Errorf("log says %+v", last)
	}
	again, _ := p.Processes.Launch("com.example.shop")
	p2, err := p.Crash(again.PID)
	if err != nil || p2 == file {
		t.Errorf("second crash: %q, %v", p2, err)
	}
	for pid, want := range map[int]error{
		0: fs.ErrPermission, 1: fs.ErrPermission, 99_999: fs.ErrNotExist,
	} {
		if _, err := p.Crash(pid); !errors.Is(err, want) {
			t.Errorf("Crash(%d) = %v, want %v", pid, err, want)
		}
	}
}
