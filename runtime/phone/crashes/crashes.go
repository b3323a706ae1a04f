// Package crashes keeps the crash reports of the phone and writes new ones.
package crashes

import (
	"encoding/json"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// Root is the path of the tree of reports on the phone.
const Root = "/var/mobile/Library/Logs/CrashReporter/"

// SysdiagnoseDir is the directory of sysdiagnose archives in the tree.
const SysdiagnoseDir = "DiagnosticLogs/sysdiagnose"

// Types of reports, which are bug_type in the header of a report.
const (
	Crash  = "309"
	Jetsam = "298"
	Panic  = "210"
	Stack  = "288"
)

// Report holds the data of a crash report.
type Report struct {
	Dir, Name string // of the file; Name is without the date
	Bug       string // a type of reports
	At        time.Time
	Process   processes.Process
	Version   string // of the app, CFBundleShortVersionString
	Build     string // of the app, CFBundleVersion
	Team      string // identifier of the team that signed the app; "" for the system
	Developer bool   // the app is signed for development
	// Uptime is the time since the boot; 0 means a time that the name of the report decides.
	Uptime time.Duration
}

// State is the state of the phone that reports have.
type State struct {
	Locked, Unlocked bool // it is locked; it was unlocked since its boot
}

// Options of Crashes.
type Options struct {
	Identity *identity.Identity
	Clock    *clock.Clock
	Volume   *files.Volume
	Log      *log.Log
	// Notifications receives a notification for each sysdiagnose archive.
	Notifications *notifications.Center
	// Old is the reports that a new phone has; it is called when somebody looks, and
	// their times are set here.
	Old func() []Report
	// State returns the state of the phone.
	State func() State
	// Zone is the time zone of the phone.
	Zone func() *time.Location
}

// Crashes holds the crash reports of a phone. All methods may be called concurrently.
type Crashes struct {
	// Files is the tree that the crash report services serve.
	Files *files.FS

	o  Options
	id *identity.Identity
}

// New returns the crash reports of a new phone.
func New(o Options) *Crashes {
	c := &Crashes{o: o, id: o.Identity}
	c.Files = files.New(o.Clock.Now, o.Volume, c.fill)
	return c
}

// file returns the path of the report in the tree. Its name contains the local time.
func (r Report) file(loc *time.Location) string {
	return path.Join(r.Dir, r.Name+"-"+r.At.In(loc).Format("2006-01-02-150405")+".ips")
}

// fill adds the crash reports of a new phone.
func (c *Crashes) fill(f *files.FS) {
	f.Seed(SysdiagnoseDir, "Panics", "Retired", "com.apple.appstored")
	loc := time.UTC // a new phone's reports must not depend on its settings
	for i, r := range c.o.Old() {
		r.At = files.Epoch.Add(time.Duration(i*7+3) * time.Hour).Add(
			time.Duration(i*733) * time.Second,
		)
		render := sync.OnceValue(func() []byte { return c.render(r, loc) })
		f.PutAt(r.file(loc), r.At, files.Lazy(render))
	}
	f.Put("DiagnosticLogs/security.log.20240603T074100Z", 1,
		files.Text("securityd: keychain upgrade finished\n"))
	f.Put("com.apple.appstored/appstored.log", 2,
		files.Text("2024-06-03 09:41:00 appstored: no pending updates\n"))
}

// Add writes a report and logs this as osanalyticshelper does. It returns the path of the
// report in the tree.
func (c *Crashes) Add(r Report) (string, error) {
	loc := c.o.Zone()
	body := c.render(r, loc)
	file := r.file(loc)
	for i := 1; ; i++ {
		if _, err := c.Files.Stat(file); err != nil {
			break
		}
		file = fmt.Sprintf("%s-%03d.ips", trimIPS(r.file(loc)), i)
	}
	if err := c.Files.WriteFile(file, body); err != nil {
		return "", err
	}
	c.announce(file)
	return file, nil
}

// AddSysdiagnose adds a sysdiagnose archive to the tree. While it is written, it has the name of
// an archive in progress, as on real phones.
func (c *Crashes) AddSysdiagnose(name string, archive []byte) error {
	if err := c.Files.Mkdir(SysdiagnoseDir); err != nil { // a host may have removed it
		return err
	}
	working := path.Join(SysdiagnoseDir, "IN_PROGRESS_"+name)
	if err := c.Files.WriteFile(working, archive); err != nil {
		_ = c.Files.Remove(working) // the error of writing counts
		return err
	}
	if err := c.Files.Rename(working, path.Join(SysdiagnoseDir, name)); err != nil {
		return err
	}
	c.o.Notifications.Post(notifications.SysdiagnoseStopped)
	return nil
}

func trimIPS(name string) string { return name[:len(name)-len(".ips")] }

// announce logs the line by which hosts notice a new report.
func (c *Crashes) announce(file string) {
	c.o.Log.WriteAs("osanalyticshelper", log.Entry{
		ImagePath: "/System/Library/PrivateFrameworks/OSAnalytics.framework/OSAnalytics",
		Subsystem: "com.apple.osanalytics", Category: "report",
		Message: "Saved type '309(<private>)' report (1 of max 25) at " + Root + file,
	})
}

// render writes a report: a line of JSON and a body of JSON.
func (c *Crashes) render(r Report, loc *time.Location) []byte {
	incident := identity.UUIDText(identity.UUID("incident", c.id.UDID, r.Name, r.At.String()))
	osVersion := fmt.Sprintf("iPhone OS %s (%s)", c.id.Version, c.id.Build)
	stamp := r.At.In(loc).Format("2006-01-02 15:04:05.00 -0700")
	head := map[string]any{
		"bug_type": r.Bug, "incident_id": incident, "os_version": osVersion, "timestamp": stamp,
	}
	body := c.body(r, incident, osVersion, r.At.In(loc))
	if r.Bug == Crash {
		for k, v := range map[string]any{
			"app_name": r.Process.Name, "app_version": r.Version, "build_version": r.Build,
			"bundleID":       r.Process.BundleID,
			"is_first_party": first(r.Process.BundleID), "name": r.Process.Name, "platform": 2,
			"roots_installed":     0,
			"share_with_app_devs": 0, "slice_uuid": identity.UUIDText(r.Process.UUID),
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
