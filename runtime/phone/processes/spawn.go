package processes

import (
	"io/fs"
	"path"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// maxProcesses is how many processes the kernel has room for.
const maxProcesses = 2000

// SpawnSpec says how an executable is to be started.
type SpawnSpec struct {
	// Path is where the executable lies on the phone.
	Path string
	Args []string
	Env  map[string]string
	// User is whose process it becomes; "" is mobile.
	User string
	// Suspended stops it before its first instruction, until SIGCONT.
	Suspended bool
}

// Spawn starts an executable that is not an app. It says on its output what it was
// started with, runs until a signal ends it, and nobody starts it again then.
// What is not there is fs.ErrNotExist, what is not an executable fs.ErrPermission;
// without room for another process it is files.ErrBusy.
func (p *Processes) Spawn(spec SpawnSpec) (Process, error) {
	file, err := p.executable(spec.Path)
	if err != nil {
		return Process{}, failure.Wrap("spawn", spec.Path, err)
	}
	if spec.User == "" {
		spec.User = "mobile"
	}
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.addSpawned(program{file, spec.User, ""})
	if !ok {
		return Process{}, failure.Wrap("spawn", spec.Path, files.ErrBusy)
	}
	r := p.runs.of(proc)
	r.stopped, r.greeting = spec.Suspended, greeting(proc,
		LaunchSpec{Args: spec.Args, Env: spec.Env})
	if !r.stopped {
		p.begin(r)
	}
	return proc, nil
}

// executable finds the executable that a path means.
func (p *Processes) executable(file string) (string, error) {
	if !strings.HasPrefix(file, "/") || len(file) > files.MaxPath {
		return "", fs.ErrNotExist
	}
	file = path.Clean(file)
	if strings.HasPrefix(file, "/var/") {
		file = "/private" + file
	}
	for _, d := range daemons[1:] { // nobody starts the kernel
		if d.path == file {
			return file, nil
		}
	}
	if err := p.o.CheckExecutable(file); err != nil {
		return "", err
	}
	return file, nil
}

// addSpawned adds a process, which does not stand in for the daemon of the same
// name.
func (p *Processes) addSpawned(d program) (Process, bool) {
	when := p.o.Clock.Now()
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	t := p.table.ready(p)
	if len(t.byPID) >= maxProcesses {
		return Process{}, false
	}
	named := t.byName[path.Base(d.path)]
	proc := t.add(p, t.nextPID(p), d, when)
	proc.spawned = true
	if named != nil {
		t.byName[proc.Name] = named
	}
	return *proc, true
}
