package phone

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// CrashReports is the tree that the crash report services serve,
// /var/mobile/Library/Logs/CrashReporter on the phone.
func (p *Phone) CrashReports() *files.FS { return p.crash }

// crashRoot is where the tree lies on the phone.
const crashRoot = "/var/mobile/Library/Logs/CrashReporter/"

// Types of reports, as the header's bug_type.
const (
	bugCrash  = "309"
	bugJetsam = "298"
	bugPanic  = "210"
	bugStack  = "288"
)

// report is one crash report to be written.
type report struct {
	dir, name string // name without the date
	bug       string
	at        time.Time
	proc      Process
	version   string // of the app
	build     string
}

// file is the report's path in the tree. Names carry local time.
func (r report) file(loc *time.Location) string {
	return path.Join(r.dir, r.name+"-"+r.at.In(loc).Format("2006-01-02-150405")+".ips")
}

// buildCrashes fills a new phone's crash reports.
func (p *Phone) buildCrashes(f *files.FS) {
	f.Seed("DiagnosticLogs/sysdiagnose", "Panics", "Retired", "com.apple.appstored")
	loc := time.UTC // a new phone's reports must not depend on its settings
	for i, r := range p.oldReports() {
		r.at = files.Epoch.Add(time.Duration(i*7+3) * time.Hour).Add(
			time.Duration(i*733) * time.Second,
		)
		render := sync.OnceValue(func() []byte { return p.renderReport(r, loc) })
		f.PutAt(r.file(loc), r.at, files.Lazy(render))
	}
	f.Put("DiagnosticLogs/security.log.20240603T074100Z", 1,
		files.Text("securityd: keychain upgrade finished\n"))
	f.Put("com.apple.appstored/appstored.log", 2,
		files.Text("2024-06-03 09:41:00 appstored: no pending updates\n"))
}

// oldReports is what happened to the phone before.
func (p *Phone) oldReports() []report {
	app := func(dir, bundleID string) report {
		r := report{dir: dir, bug: bugCrash}
		for _, b := range builtinApps {
			if s := b.spec.complete(); s.BundleID == bundleID {
				a := p.newApp(s, nil, nil)
				d := a.daemon()
				r.name, r.version, r.build = s.Executable, s.ShortVersion, s.Version
				r.proc = Process{
					PID: 400 + len(s.Name)*13, Name: s.Executable, Path: d.path, BundleID: bundleID,
					User: "mobile",
				}
			}
		}
		r.proc.UUID = uuidOf(r.proc.Path, p.prof.build)
		return r
	}
	daemon := func(dir, file, bug string) report {
		return report{dir: dir, name: path.Base(file), bug: bug, version: "1.0", build: "1",
			proc: Process{
				PID: 90 + len(file), Name: path.Base(file), Path: file, User: "root",
				UUID: uuidOf(file, p.prof.build),
			}}
	}
	return []report{
		app("", "com.example.notes"),
		app("", "com.example.shop"),
		daemon("", "/usr/libexec/locationd", bugCrash),
		daemon("", "JetsamEvent", bugJetsam),
		app("", "com.example.notes"),
		daemon("", "/usr/sbin/mediaserverd", bugCrash),
		daemon("", "stacks", bugStack),
		app("", "com.example.blocks"),
		daemon("Retired", "/usr/libexec/duetexpertd", bugCrash),
		app("Retired", "com.example.sky"),
		daemon("Retired", "JetsamEvent", bugJetsam),
		daemon("Panics", "panic-full", bugPanic),
		daemon("", "panic-full", bugPanic),
		app("", "com.example.shop"),
	}
}

// Crash ends a process with a crash: a report appears among CrashReports,
// and the log says so as the real analytics helper does. It returns the
// report's path in the tree. An unknown PID is fs.ErrNotExist, the kernel and
// launchd are fs.ErrPermission.
func (p *Phone) Crash(pid int) (string, error) {
	proc, err := p.terminate(pid, SIGSEGV)
	if err != nil {
		return "", fail("crash", strconv.Itoa(pid), err)
	}
	r := report{name: proc.Name, bug: bugCrash, at: p.Now(), proc: proc, version: "1.0", build: "1"}
	if a, ok := p.App(proc.BundleID); ok {
		r.version, r.build = a.spec.ShortVersion, a.spec.Version
	}
	loc := p.Location()
	body := p.renderReport(r, loc)
	file := r.file(loc)
	for i := 1; ; i++ {
		if _, err := p.crash.Stat(file); err != nil {
			break
		}
		file = fmt.Sprintf("%s-%03d.ips", trimIPS(r.file(loc)), i)
	}
	if err := p.crash.WriteFile(file, body); err != nil {
		return "", fail("crash", strconv.Itoa(pid), err)
	}
	p.announceReport(file)
	return file, nil
}

func trimIPS(name string) string { return name[:len(name)-len(".ips")] }

// announceReport logs the line that watchers of crashes wait for.
func (p *Phone) announceReport(file string) {
	helper, _ := p.ProcessNamed("osanalyticshelper")
	p.Log(LogEntry{PID: helper.PID,
		ImagePath: "/System/Library/PrivateFrameworks/OSAnalytics.framework/OSAnalytics",
		Subsystem: "com.apple.osanalytics", Category: "report",
		Message: "Saved type '309(<private>)' report (1 of max 25) at " + crashRoot + file})
}

// renderReport writes a report: a line of JSON and a body of JSON.
func (p *Phone) renderReport(r report, loc *time.Location) []byte {
	incident := uuidText(uuidOf("incident", p.id.udid, r.name, r.at.String()))
	osVersion := fmt.Sprintf("iPhone OS %s (%s)", p.prof.version, p.prof.build)
	stamp := r.at.In(loc).Format("2006-01-02 15:04:05.00 -0700")
	head := map[string]any{
		"bug_type": r.bug, "incident_id": incident, "os_version": osVersion, "timestamp": stamp,
	}
	body := p.reportBody(r, incident, osVersion, r.at.In(loc))
	if r.bug == bugCrash {
		for k, v := range map[string]any{
			"app_name": r.proc.Name, "app_version": r.version, "build_version": r.build,
			"bundleID":       r.proc.BundleID,
			"is_first_party": first(r.proc.BundleID), "name": r.proc.Name, "platform": 2,
			"roots_installed":     0,
			"share_with_app_devs": 0, "slice_uuid": uuidText(r.proc.UUID),
		} {
			head[k] = v
		}
	}
	// Maps of strings and numbers are always encodable; keys come out sorted.
	line, _ := json.Marshal(head)
	rest, _ := json.MarshalIndent(body, "", "  ")
	out := append(line, '\n')
	out = append(out, rest...)
	return append(out, '\n')
}

func first(bundleID string) int {
	if len(bundleID) < 10 || bundleID[:10] == "com.apple." {
		return 1
	}
	return 0
}
