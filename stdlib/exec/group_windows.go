package exec

import (
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/windows"
)

// group is a job object. It has the program and the processes that it starts.
type group struct{ job windows.Handle }

// newGroup makes the job. If that fails, only the program itself can be ended.
func newGroup(*exec.Cmd) *group {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return &group{}
	}
	return &group{job: job}
}

// started puts the program into the job. Processes that it has started before stay outside.
func (g *group) started(cmd *exec.Cmd) {
	const rights = windows.PROCESS_SET_QUOTA | windows.PROCESS_TERMINATE
	p, err := windows.OpenProcess(rights, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(g.job, p)
		_ = windows.CloseHandle(p)
	}
	if err != nil {
		g.close()
	}
}

// ask kills the processes. Windows has no request to end that every program understands.
func (g *group) ask(p *os.Process) { g.kill(p) }

func (g *group) kill(p *os.Process) {
	if g.job != 0 {
		_ = windows.TerminateJobObject(g.job, 1)
	}
	_ = p.Kill()
}

func (g *group) close() {
	if g.job != 0 {
		_ = windows.CloseHandle(g.job)
		g.job = 0
	}
}

// exitOf returns the exit code. Windows has no signals.
func exitOf(s *os.ProcessState) (code int, signal string) {
	if s == nil {
		return -1, ""
	}
	return s.ExitCode(), ""
}

// signalOf returns the signal that is named KILL or SIGKILL, the only one that Windows can send.
func signalOf(name string) (os.Signal, bool) {
	return os.Kill, strings.TrimPrefix(strings.ToUpper(name), "SIG") == "KILL"
}
