package processes

import (
	"io/fs"
	"path"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// maxProcesses is the number of processes that the kernel allows.
const maxProcesses = 2000

// SpawnSpec says how to start an executable.
type SpawnSpec struct {
	// Path is the path of the executable on the phone.
	Path string
	Args []string
	Env  map[string]string
	// User is the user of the process; "" means mobile.
	User string
	// Suspended stops the process before its first instruction, until SIGCONT.
	Suspended bool
}

// Spawn starts an executable that is not an app. The process prints its arguments and
// environment and runs until a signal ends it. It is not restarted. The error is
// fs.ErrNotExist if there is no such file, fs.ErrPermission if the file is not an
// executable, and files.ErrBusy if there are too many processes.
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

// executable returns the cleaned path of an executable that can be started.
func (p *Processes) executable(file string) (string, error) {
	if !strings.HasPrefix(file, "/") || len(file) > files.MaxPath {
		return "", fs.ErrNotExist
	}
	file = path.Clean(file)
	if strings.HasPrefix(file, "/var/") {
		file = "/private" + file
	}
	for _, d := range daemons[1:] { // the kernel cannot be started
		if d.path == file {
			return file, nil
		}
	}
	if err := p.o.CheckExecutable(file); err != nil {
		return "", err
	}
	return file, nil
}

// addSpawned adds a process. A daemon with the same name is still found by that
// name. addSpawned returns false if there are too many processes.
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
