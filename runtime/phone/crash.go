package phone

import (
	"path"
	"strconv"

	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/crashes"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// Crash ends a process with a crash. It adds a report to Crashes, logs this, and returns
// the path of the report in the tree. The error is fs.ErrNotExist for an unknown PID, and
// fs.ErrPermission for the kernel and launchd.
func (p *Phone) Crash(pid int) (string, error) {
	proc, err := p.Processes.Terminate(pid, processes.SIGSEGV)
	if err != nil {
		return "", failure.Wrap("crash", strconv.Itoa(pid), err)
	}
	now := p.Clock.Now()
	booted, _ := p.Clock.Booted()
	r := crashes.Report{
		Name: proc.Name, Bug: crashes.Crash, At: now, Process: proc, Version: "1.0", Build: "1",
		Uptime: now.Sub(booted),
	}
	if a, ok := p.Apps.Find(proc.BundleID); ok {
		describe(&r, a)
	}
	file, err := p.Crashes.Add(r)
	return file, failure.Wrap("crash", strconv.Itoa(pid), err)
}

// describe adds what a report says of an app.
func describe(r *crashes.Report, a *apps.App) {
	r.Version, r.Build = a.ShortVersion(), a.Version()
	r.Team, r.Developer = a.Team(), a.Developer()
}

// crashState returns the state of the phone for reports.
func (p *Phone) crashState() crashes.State {
	return crashes.State{Locked: p.Screen.Locked(), Unlocked: p.Screen.UnlockedSinceBoot()}
}

// oldReports returns the crash reports of a new phone.
func (p *Phone) oldReports() []crashes.Report {
	app := func(dir, bundleID string) crashes.Report {
		r := crashes.Report{Dir: dir, Bug: crashes.Crash}
		if a, ok := p.Apps.Builtin(bundleID); ok {
			name := path.Base(a.Executable())
			r.Name = name
			describe(&r, a)
			r.Process = processes.Process{
				PID: 400 + len(a.Name())*13, Name: name, Path: a.Executable(), BundleID: bundleID,
				User: "mobile",
			}
		}
		r.Process.UUID = identity.UUID(r.Process.Path, p.Identity.Build)
		return r
	}
	daemon := func(dir, file, bug string) crashes.Report {
		return crashes.Report{Dir: dir, Name: path.Base(file), Bug: bug, Version: "1.0", Build: "1",
			Process: processes.Process{
				PID: 90 + len(file), Name: path.Base(file), Path: file, User: "root",
				UUID: identity.UUID(file, p.Identity.Build),
			}}
	}
	return []crashes.Report{
		app("", "com.example.notes"),
		app("", "com.example.shop"),
		daemon("", "/usr/libexec/locationd", crashes.Crash),
		daemon("", "JetsamEvent", crashes.Jetsam),
		app("", "com.example.notes"),
		daemon("", "/usr/sbin/mediaserverd", crashes.Crash),
		daemon("", "stacks", crashes.Stack),
		app("", "com.example.blocks"),
		daemon("Retired", "/usr/libexec/duetexpertd", crashes.Crash),
		app("Retired", "com.example.sky"),
		daemon("Retired", "JetsamEvent", crashes.Jetsam),
		daemon("Panics", "panic-full", crashes.Panic),
		daemon("", "panic-full", crashes.Panic),
		app("", "com.example.shop"),
	}
}
