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

// checkReport checks the form of an .ips file and returns its header and body.
func checkReport(t *testing.T, p *phone.Phone, name string, b []byte) (head, body map[string]any) {
	t.Helper()
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		t.Fatalf("%s has only one line", name)
	}
	if json.Unmarshal(line, &head) != nil {
		t.Fatalf("%s: the first line is not JSON: %q", name, line)
	}
	if json.Unmarshal(rest, &body) != nil {
		t.Fatalf("%s: the body is not JSON", name)
	}
	if !reportName.MatchString(path.Base(name)) {
		t.Errorf("odd name %s", name)
	}
	os, _ := head["os_version"].(string)
	if !strings.HasPrefix(os, "iPhone OS "+p.Identity.Version+" (") {
		t.Errorf("%s has the os_version %q, want iPhone OS %s", name, os, p.Identity.Version)
	}
	if head["incident_id"] != body["incident"] {
		t.Errorf("%s has the incident_id %v, want %v", name, head["incident_id"], body["incident"])
	}
	if head["bug_type"] != body["bug_type"] {
		t.Errorf("%s has the bug_type %v, want %v", name, head["bug_type"], body["bug_type"])
	}
	stamp, _ := head["timestamp"].(string)
	if day := strings.ReplaceAll(stamp[:19], ":", ""); !strings.Contains(name,
		strings.Replace(day, " ", "-", 1)) {
		t.Errorf("%s has the timestamp %s", name, stamp)
	}
	return head, body
}

// bodyKeys are the keys that the bodies of devices have, by the type of the report.
var bodyKeys = map[string]string{
	crashes.Crash: `uptime procName procPath pid parentPid userID coalitionID parentProc
		coalitionName procRole captureTime procLaunch procStartAbsTime procExitAbsTime version
		deployVersion modelCode cpuType basebandVersion osVersion incident bug_type
		crashReporterKey isCorpse wasUnlockedSinceBoot isLocked ldm throttleTimeout trmStatus
		codeSigningID codeSigningTeamID codeSigningFlags codeSigningTrustLevel
		codeSigningValidationCategory instructionByteStream exception termination faultingThread
		threads usedImages sharedCache vmSummary vmRegionInfo legacyInfo logWritingSignature
		trialInfo reportNotes`,
	crashes.Jetsam: `build product kernel incident crashReporterKey date bug_type timeDelta
		genCounter codeSigningMonitor largestProcess memoryStatus processes`,
	crashes.Stack: `build product socId kernel incident crashReporterKey date bug_type
		memoryStatus processByPid binaryImages notes reason frontmostPids exception
		absoluteTime`,
	crashes.Panic: `build product socId kernel incident crashReporterKey date bug_type
		memoryStatus processByPid binaryImages notes panicString panicFlags otherString`,
}

func checkKeys(t *testing.T, name string, body map[string]any, keys string) {
	t.Helper()
	for _, key := range strings.Fields(keys) {
		if _, ok := body[key]; !ok {
			t.Errorf("%s has no %s", name, key)
		}
	}
}

// checkThreads checks that the registers of the thread that crashed agree with its frames.
func checkThreads(t *testing.T, name string, body map[string]any) {
	t.Helper()
	var r struct {
		FaultingThread int
		Threads        []struct {
			Triggered   bool
			Frames      []struct{ ImageIndex, ImageOffset uint64 }
			ThreadState *struct {
				Flavor                         string
				X                              []struct{ Value uint64 }
				FP, LR, SP, PC, CPSR, FAR, ESR struct{ Value uint64 }
			}
		}
		UsedImages []struct {
			Base, Size uint64
			UUID       string
		}
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(r.Threads) < 2 {
		t.Fatalf("%s has %d threads, want at least 2", name, len(r.Threads))
	}
	for i, th := range r.Threads {
		for _, f := range th.Frames {
			if f.ImageIndex >= uint64(len(r.UsedImages)) {
				t.Fatalf("%s: a frame of thread %d has the image %d of %d", name, i, f.ImageIndex,
					len(r.UsedImages))
			}
			if size := r.UsedImages[f.ImageIndex].Size; f.ImageOffset >= size {
				t.Errorf("%s: a frame of thread %d is at %d of %d bytes", name, i, f.ImageOffset,
					size)
			}
		}
		if crashed := i == r.FaultingThread; th.Triggered != crashed {
			t.Errorf("%s: thread %d: triggered %v, want %v", name, i, th.Triggered, crashed)
		}
	}
	th := r.Threads[r.FaultingThread]
	if th.ThreadState == nil {
		t.Fatalf("%s: the thread that crashed has no threadState", name)
	}
	if th.ThreadState.Flavor != "ARM_THREAD_STATE64" {
		t.Errorf("%s: flavor %q", name, th.ThreadState.Flavor)
	}
	if n := len(th.ThreadState.X); n != 29 {
		t.Errorf("%s: %d registers, want 29", name, n)
	}
	for i, got := range []uint64{th.ThreadState.PC.Value, th.ThreadState.LR.Value} {
		f := th.Frames[i]
		if want := r.UsedImages[f.ImageIndex].Base + f.ImageOffset; got != want {
			t.Errorf("%s: frame %d is at %#x, the register has %#x", name, i, want, got)
		}
	}
	if th.ThreadState.FAR.Value != 0 {
		t.Errorf("%s: far = %#x, want the address 0 of the exception", name,
			th.ThreadState.FAR.Value)
	}
}

func TestCrashTree(t *testing.T) {
	t.Parallel()
	phonetest.EachProfile(t, func(t *testing.T, p *phone.Phone) {
		bugs, dirs := map[string]int{}, map[string]int{}
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
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if int64(len(b)) != i.Size {
				t.Fatalf("%s has %d bytes, want %d", name, len(b), i.Size)
			}
			head, body := checkReport(t, p, name, b)
			bug, _ := head["bug_type"].(string)
			bugs[bug]++
			checkKeys(t, name, body, bodyKeys[bug])
			if bug == crashes.Crash {
				checkThreads(t, name, body)
			}
		})
		if bugs[crashes.Crash] < 6 {
			t.Errorf("%d crash reports, want at least 6", bugs[crashes.Crash])
		}
		if bugs[crashes.Jetsam] == 0 {
			t.Errorf("no jetsam report in %v", bugs)
		}
		if bugs[crashes.Panic] == 0 {
			t.Errorf("no panic report in %v", bugs)
		}
		if bugs[crashes.Stack] == 0 {
			t.Errorf("no stack report in %v", bugs)
		}
		if dirs["/"] < 6 {
			t.Errorf("%d files in /, want at least 6", dirs["/"])
		}
		if dirs["/Retired"] == 0 {
			t.Error("no file in /Retired")
		}
		if dirs["/Panics"] == 0 {
			t.Error("no file in /Panics")
		}
		if dirs["/DiagnosticLogs"] == 0 {
			t.Error("no file in /DiagnosticLogs")
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
	if head["bundleID"] != "com.example.shop" {
		t.Errorf("head[bundleID] = %q, want %q", head["bundleID"], "com.example.shop")
	}
	if head["app_version"] != "4.0" {
		t.Errorf("head[app_version] = %q, want %q", head["app_version"], "4.0")
	}
	checkThreads(t, file, body)
	launched := proc.Started.In(p.Values.Zone()).Format("2006-01-02 15:04:05.0000 -0700")
	if body["procLaunch"] != launched {
		t.Errorf("body[procLaunch] = %v, want %v", body["procLaunch"], launched)
	}
	if team := body["codeSigningTeamID"]; team != "V1RTUALDEV" {
		t.Errorf("body[codeSigningTeamID] = %v, want the team of the app", team)
	}
	if body["pid"] != float64(proc.PID) {
		t.Errorf("body[pid] = %v, want %v", body["pid"], float64(proc.PID))
	}
	if head["is_first_party"] != 0.0 {
		t.Errorf("head[is_first_party] = %v, want %v", head["is_first_party"], 0.0)
	}
	if _, ok := p.Processes.OfApp("com.example.shop"); ok {
		t.Error("the app still runs")
	}
	log := p.Log.History()
	last := log[len(log)-1]
	if path.Base(last.ProcessPath) != "osanalyticshelper" {
		t.Errorf("log entry of process %s, want osanalyticshelper", last.ProcessPath)
	}
	if path.Base(last.ImagePath) != "OSAnalytics" {
		t.Errorf("log entry of image %s, want OSAnalytics", last.ImagePath)
	}
	if !strings.HasPrefix(last.Message, "Saved type ") {
		t.Errorf("log entry %q, want the prefix Saved type", last.Message)
	}
	if !strings.HasSuffix(last.Message, "/"+file) {
		t.Errorf("log entry %q, want the suffix /%s", last.Message, file)
	}
	again, _ := p.Processes.Launch("com.example.shop")
	p2, err := p.Crash(again.PID)
	if err != nil {
		t.Errorf("second crash: %v", err)
	} else if p2 == file {
		t.Errorf("the second crash has the report %s of the first", p2)
	}
	for pid, want := range map[int]error{
		0: fs.ErrPermission, 1: fs.ErrPermission, 99_999: fs.ErrNotExist,
	} {
		if _, err := p.Crash(pid); !errors.Is(err, want) {
			t.Errorf("Crash(%d) = %v, want %v", pid, err, want)
		}
	}
}
