package phone

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// Process is a running process.
type Process struct {
	PID        int
	Name, Path string
	BundleID   string // of an app, else ""
	Started    time.Time
	UUID       [16]byte // of the executable image
	ParentPID  int
	User       string

	spawned bool // nobody starts it again
}

// daemonSpec is a process that runs from boot on.
type daemonSpec struct{ path, user, bundleID string }

// procTable is the running processes, made at the first look after a boot.
type procTable struct {
	mu     sync.RWMutex
	boot   int // the boot that the table belongs to
	byPID  map[int]*Process
	byName map[string]*Process
	last   int // PID given out last
}

// firstPID is where a new boot begins to count after launchd.
const firstPID = 20

// maxPID is where the kernel begins anew; some hosts refuse larger ones.
const maxPID = 99_998

func (t *procTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID, t.byName = nil, nil
}

// ready fills the table if need be; the caller holds mu for writing.
func (t *procTable) ready(p *Phone) *procTable {
	if t.byPID != nil {
		return t
	}
	p.mu.RLock()
	boots, booted := p.boots, p.booted
	p.mu.RUnlock()
	t.boot, t.last = boots, firstPID
	t.byPID, t.byName = make(map[int]*Process,
		len(daemons)+8), make(map[string]*Process, len(daemons)+8)
	t.add(p, 0, daemons[0], booted)
	t.add(p, 1, daemons[1], booted)
	for i, d := range daemons[2:] {
		t.add(p, t.nextPID(p), d, booted.Add(time.Duration(i+8)*130*time.Millisecond))
	}
	for i, id := range prelaunched {
		if a, ok := p.App(id); ok {
			t.add(p, t.nextPID(p), a.daemon(), booted.Add(time.Duration(i+1)*11*time.Minute))
		}
	}
	return t
}

// nextPID leaves gaps, as the short-lived helpers of a real phone do.
func (t *procTable) nextPID(p *Phone) int {
	for {
		t.last += 1 + int(files.Mix(p.id.seed^uint64(t.boot)<<32^uint64(t.last))%4)
		if t.last > maxPID {
			t.last = firstPID
		}
		if t.byPID[t.last] == nil {
			return t.last
		}
	}
}

func (t *procTable) add(p *Phone, pid int, d daemonSpec, when time.Time) *Process {
	proc := &Process{PID: pid, Name: path.Base(d.path), Path: d.path, BundleID: d.bundleID,
		Started: when, UUID: uuidOf(d.path, p.prof.build), User: d.user}
	if pid > 1 {
		proc.ParentPID = 1
	}
	t.byPID[pid] = proc
	t.byName[proc.Name] = proc
	return proc
}

func (t *procTable) remove(proc *Process) {
	delete(t.byPID, proc.PID)
	if t.byName[proc.Name] == proc {
		delete(t.byName, proc.Name)
	}
}

// look calls fn with the table, filled and locked for reading.
func (p *Phone) look(fn func(*procTable)) {
	t := &p.procs
	t.mu.RLock()
	if t.byPID != nil {
		defer t.mu.RUnlock()
		fn(t)
		return
	}
	t.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(t.ready(p))
}

// Processes lists the running processes by PID.
func (p *Phone) Processes() []Process {
	var out []Process
	p.look(func(t *procTable) {
		out = make([]Process, 0, len(t.byPID))
		for _, proc := range t.byPID {
			out = append(out, *proc)
		}
	})
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// Process returns the process with the PID.
func (p *Phone) Process(pid int) (proc Process, ok bool) {
	p.look(func(t *procTable) {
		if found := t.byPID[pid]; found != nil {
			proc, ok = *found, true
		}
	})
	return proc, ok
}

// ProcessNamed returns the process with the short name, the newest of them.
func (p *Phone) ProcessNamed(name string) (proc Process, ok bool) {
	p.look(func(t *procTable) {
		if found := t.byName[name]; found != nil {
			proc, ok = *found, true
		}
	})
	return proc, ok
}

// RunningApp returns the process of an app, if it runs.
func (p *Phone) RunningApp(bundleID string) (proc Process, ok bool) {
	p.look(func(t *procTable) {
		if found := t.ofBundle(bundleID); found != nil {
			proc, ok = *found, true
		}
	})
	return proc, ok
}

func (t *procTable) ofBundle(bundleID string) *Process {
	for _, proc := range t.byPID {
		if proc.BundleID == bundleID {
			return proc
		}
	}
	return nil
}

// Kill ends a process. The kernel and launchd cannot be ended
// (fs.ErrPermission), an unknown PID is fs.ErrNotExist. Daemons are started
// again by launchd at once, with another PID.
func (p *Phone) Kill(pid int) error {
	_, err := p.kill(pid)
	if err != nil {
		return fail("kill", strconv.Itoa(pid), err)
	}
	return nil
}

func (p *Phone) kill(pid int) (Process, error) { return p.terminate(pid, SIGKILL) }

// terminate ends a process by a signal.
func (p *Phone) terminate(pid, signal int) (Process, error) {
	if pid == 0 || pid == 1 {
		return Process{}, fs.ErrPermission
	}
	when := p.Now()
	p.procs.mu.Lock()
	t := p.procs.ready(p)
	proc := t.byPID[pid]
	if proc == nil {
		p.procs.mu.Unlock()
		return Process{}, fs.ErrNotExist
	}
	t.remove(proc)
	out := *proc
	if !proc.isApp() && !proc.spawned {
		t.add(p, t.nextPID(p), daemonSpec{proc.Path, proc.User, proc.BundleID}, when)
	}
	p.procs.mu.Unlock()
	p.ended(out, signal)
	p.Log(LogEntry{PID: 1, Subsystem: "com.apple.xpc.launchd", Category: "service",
		Message: fmt.Sprintf("exited due to %s | sent by launchd[1]: %s[%d]", signalName(signal),
			out.Name, out.PID)})
	return out, nil
}

func signalName(signal int) string {
	if signal == SIGKILL {
		return "SIGKILL"
	}
	return "signal " + strconv.Itoa(signal)
}

// isApp reports whether the process ends for good when it is killed.
// SpringBoard has a bundle identifier and yet is launchd's child for ever.
func (proc *Process) isApp() bool { return proc.BundleID != "" && proc.Name != "SpringBoard" }

// respawn kills a daemon, which launchd starts again.
func (p *Phone) respawn(name string) {
	if proc, ok := p.ProcessNamed(name); ok {
		_, _ = p.kill(proc.PID) // gone already is as good
	}
}

// prelaunched are the apps that a phone runs when somebody first looks.
var prelaunched = []string{"com.apple.mobilesafari", "com.apple.MobileSMS", "com.example.notes"}

// daemons is what runs on every phone; the first two are PID 0 and 1.
var daemons = []daemonSpec{
	{"/kernel", "root", ""},
	{"/sbin/launchd", "root", ""},
	{"/usr/libexec/logd", "root", ""},
	{"/usr/libexec/UserEventAgent", "root", ""},
	{"/usr/libexec/configd", "root", ""},
	{"/usr/libexec/powerd", "root", ""},
	{"/usr/libexec/keybagd", "root", ""},
	{"/usr/libexec/lockdownd", "root", ""},
	{"/usr/libexec/usbmuxd", "root", ""},
	{"/usr/libexec/thermalmonitord", "root", ""},
	{"/usr/libexec/runningboardd", "root", ""},
	{"/usr/libexec/watchdogd", "root", ""},
	{"/usr/libexec/amfid", "_amfid", ""},
	{"/usr/libexec/trustd", "_trustd", ""},
	{"/usr/libexec/securityd", "_securityd", ""},
	{"/usr/libexec/notifyd", "root", ""},
	{"/usr/sbin/cfprefsd", "mobile", ""},
	{"/usr/sbin/distnoted", "mobile", ""},
	{"/usr/sbin/mDNSResponder", "_mdnsresponder", ""},
	{"/usr/sbin/mediaserverd", "mobile", ""},
	{"/usr/sbin/bluetoothd", "mobile", ""},
	{"/usr/sbin/wifid", "root", ""},
	{"/usr/sbin/wirelessproxd", "mobile", ""},
	{"/usr/libexec/locationd", "_locationd", ""},
	{"/usr/libexec/nfcd", "mobile", ""},
	{"/usr/libexec/symptomsd", "_networkd", ""},
	{"/usr/libexec/nsurlsessiond", "mobile", ""},
	{"/usr/libexec/networkserviceproxy", "_networkd", ""},
	{"/usr/libexec/coreduetd", "root", ""},
	{"/usr/libexec/duetexpertd", "mobile", ""},
	{"/usr/libexec/dasd", "mobile", ""},
	{"/usr/libexec/backboardd", "mobile", ""},
	{"/System/Library/CoreServices/SpringBoard.app/SpringBoard", "mobile", "com.apple.springboard"},
	{
		"/System/Library/PrivateFrameworks/CoreTelephony.framework/Support/CommCenter", "_wireless",
		"",
	},
	{"/System/Library/PrivateFrameworks/ApplePushService.framework/apsd", "mobile", ""},
	{"/System/Library/PrivateFrameworks/AppStoreDaemon.framework/Support/appstored", "mobile", ""},
	{"/System/Library/PrivateFrameworks/AssistantServices.framework/assistantd", "mobile", ""},
	{"/System/Library/PrivateFrameworks/IMCore.framework/imagent.app/imagent", "mobile", ""},
	{
		"/System/Library/PrivateFrameworks/IDS.framework/identityservicesd.app/identityservicesd",
		"mobile", "",
	},
	{
		"/System/Library/PrivateFrameworks/MobileInstallation.framework/XPCServices/com.apple.MobileInstallationHelperService",
		"root", "",
	},
	{"/System/Library/PrivateFrameworks/CloudKitDaemon.framework/Support/cloudd", "mobile", ""},
	{"/System/Library/Frameworks/Accounts.framework/accountsd", "mobile", ""},
	{"/System/Library/PrivateFrameworks/CoreSuggestions.framework/suggestd", "mobile", ""},
	{
		"/System/Library/PrivateFrameworks/PhotoLibraryServices.framework/Support/photolibraryd",
		"mobile", "",
	},
	{"/System/Library/PrivateFrameworks/MediaAnalysis.framework/mediaanalysisd", "mobile", ""},
	{
		"/System/Library/PrivateFrameworks/OSAnalytics.framework/Support/osanalyticshelper", "root",
		"",
	},
	{"/System/Library/CoreServices/ReportCrash", "root", ""},
	{"/usr/libexec/installd", "_installd", ""},
	{"/usr/libexec/lsd", "mobile", ""},
	{"/usr/libexec/containermanagerd", "mobile", ""},
	{"/usr/libexec/mobileassetd", "mobile", ""},
	{"/usr/libexec/mobileactivationd", "mobile", ""},
	{"/usr/libexec/misagent", "root", ""},
	{"/usr/libexec/remoted", "root", ""},
	{"/usr/libexec/sharingd", "mobile", ""},
	{"/usr/libexec/rapportd", "mobile", ""},
	{"/usr/libexec/tccd", "mobile", ""},
	{"/usr/libexec/searchd", "mobile", ""},
	{"/usr/libexec/timed", "_timed", ""},
	{"/usr/libexec/routined", "mobile", ""},
	{"/usr/libexec/healthd", "mobile", ""},
	{"/usr/libexec/fseventsd", "root", ""},
	{"/usr/libexec/contextstored", "mobile", ""},
	{"/usr/libexec/findmydeviced", "mobile", ""},
}
