//go:build unix

package exec

import (
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// group is the process group of a program. It has the program and the processes that it starts,
// except those that leave the group, as daemons do.
type group struct{ id int }

// newGroup gives cmd, which has not been started yet, a group of its own. The terminal does not
// send signals such as SIGINT, for Ctrl-C, to that group.
func newGroup(cmd *exec.Cmd) *group {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &group{}
}

func (g *group) started(cmd *exec.Cmd) { g.id = cmd.Process.Pid }

// ask asks the processes of the group to end. It continues stopped processes, which could not
// handle the signal otherwise.
func (g *group) ask(*os.Process) {
	_ = syscall.Kill(-g.id, syscall.SIGTERM)
	_ = syscall.Kill(-g.id, syscall.SIGCONT)
}

func (g *group) kill(*os.Process) { _ = syscall.Kill(-g.id, syscall.SIGKILL) }

func (g *group) close() {}

// exitOf returns the exit code and the name of the signal that has ended the program, if any. With
// a signal the code is 128 plus the number of the signal, as in a shell.
func exitOf(s *os.ProcessState) (code int, signal string) {
	if s == nil {
		return -1, ""
	}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal()), unix.SignalName(w.Signal())
	}
	return s.ExitCode(), ""
}

// signalOf returns the signal that has a name such as TERM or SIGTERM.
func signalOf(name string) (os.Signal, bool) {
	s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	return s, s != 0
}
