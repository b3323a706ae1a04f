package main

import (
	"errors"
	"os"
	"syscall"

	"github.com/imdlua/imdlua/runtime/host"
)

// The errors with which the context of a run ends when a signal arrives.
// host.ExitCode knows their codes.
var (
	errInterrupted = &host.Error{Code: "interrupted", Message: "interrupted"}
	errTerminated  = &host.Error{Code: "terminated", Message: "terminated"}
	errHangup      = &host.Error{Code: "hangup", Message: "hangup"}
)

// signalError returns the error that stands for a signal.
func signalError(s os.Signal) *host.Error {
	switch s {
	case os.Interrupt:
		return errInterrupted
	case syscall.SIGHUP:
		return errHangup
	}
	return errTerminated
}

// bySignal reports whether err says that a signal has ended the run. For commands
// that run until then, this is no failure.
func bySignal(err error) bool {
	return errors.Is(err, errInterrupted) || errors.Is(err, errTerminated) ||
		errors.Is(err, errHangup)
}

// watchSignals ends the run at the first signal, so that scripts clean up, and the
// process at the second one. A REPL takes the interrupts as long as nothing else
// has ended the run.
func (c *cli) watchSignals(done <-chan struct{}) {
	for ending := false; ; {
		var s os.Signal
		select {
		case <-done:
			return
		case received, ok := <-c.signals:
			if !ok {
				return
			}
			s = received
		}
		taker := c.interruptTaker()
		switch {
		case ending:
			c.kill(host.ExitCode(signalError(s)))
			return
		case taker != nil && s == os.Interrupt:
			select {
			case taker <- s:
			default: // The last ones have not been received yet.
			}
		default:
			ending = true
			c.stop(signalError(s))
		}
	}
}

func (c *cli) interruptTaker() chan<- os.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupts
}

// takeInterrupts sends interrupts to the caller from now on.
func (c *cli) takeInterrupts() <-chan os.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupts = make(chan os.Signal, 4)
	return c.interrupts
}
