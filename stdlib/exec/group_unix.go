//go:build unix

package exec

import (
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// group is the process group of a program: the program and what it starts, unless that leaves the
// group, as daemons do.
type group struct{ id int }

// newGroup gives cmd, which has not been started yet, a group of its own. Signals of the terminal
// such as Ctrl-C do not reach it.
func newGroup(cmd *exec.Cmd) *group {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &group{}
}

func (g *group) started(cmd *exec.Cmd) { g.id = cmd.Process.Pid }

// ask asks the processes of the group to end. One that is stopped must go on for that.
func (g *group) ask(*os.Process) {
	_ = syscall.Kill(-g.id, syscall.SIGTERM)
	_ = syscall.Kill(-g.id, syscall.SIGCONT)
}

func (g *group) kill(*os.Process) { _ = syscall.Kill(-g.id, syscall.SIGKILL) }

func (g *group) close() {}

// exitOf returns the exit code and the name of the signal that has ended the program. The code is
// then 128 and the number of the signal, as in a shell.
func exitOf(s *os.ProcessState) (code int, signal string) {
	if s == nil {
		return -1, ""
	}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal()), unix.SignalName(w.Signal())
	}
	return s.ExitCode(), ""
}

// signalOf returns the signal with a name such as TERM or SIGTERM.
func signalOf(name string) (os.Signal, bool) {
	s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	return s, s != 0
}
