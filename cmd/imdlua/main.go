// Command imdlua runs Lua scripts against iPhones and iPads.
//
// Each subcommand has a file of its own. Everything that belongs to the process (streams,
// arguments, environment, signals, memory) is in the struct app, so that tests can replace it.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"golang.org/x/term"
)

// app holds everything that the program uses of its process.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	args           []string // without the program's name
	env            func(string) (string, bool)

	stdinTTY, stdoutTTY, stderrTTY bool

	oneOutput   bool                   // stdout and stderr are the same file
	width       func() int             // columns of the terminal
	signals     <-chan os.Signal       // interrupts and requests to end
	kill        func(code int)         // restores the terminal and ends the process at once
	memoryLimit func() uint64          // bytes that the process may use; 0 or nil means no limit
	executable  func() (string, error) // this program's file
	hostName    func() (string, error) // name of this computer, which devices show

	remoted func(context.Context) ([]byte, error) // state of macOS' remoted; nil elsewhere
	// browser returns what finds devices on the network.
	browser func(*slog.Logger) bonjour.Browser
}

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, endSignals()...)
	restore := func() {}
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		args: os.Args[1:], env: os.LookupEnv,
		stdinTTY: isTerminal(os.Stdin), stdoutTTY: isTerminal(os.Stdout),
		stderrTTY: isTerminal(os.Stderr), oneOutput: sameFile(os.Stdout, os.Stderr),
		width: func() int {
			for _, f := range []*os.File{os.Stdout, os.Stderr} {
				if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
					return w
				}
			}
			return 80
		},
		signals:     signals,
		memoryLimit: func() uint64 { return hardLimit(os.LookupEnv) },
		executable:  os.Executable,
		hostName:    os.Hostname,
		remoted:     remotectl(),
		browser:     multicast,
	}
	if a.stdinTTY {
		// kill restores the terminal, which would be unusable in raw mode.
		state, err := term.GetState(int(os.Stdin.Fd()))
		if err == nil {
			restore = func() { _ = term.Restore(int(os.Stdin.Fd()), state) }
		}
	}
	a.kill = func(code int) {
		restore()
		os.Exit(code)
	}
	a.kill(run(context.Background(), a))
}

func multicast(log *slog.Logger) bonjour.Browser { return &bonjour.MDNS{Logger: log} }

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func sameFile(a, b *os.File) bool {
	of, err := a.Stat()
	if err != nil {
		return false
	}
	other, err := b.Stat()
	return err == nil && os.SameFile(of, other)
}
