package main

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
)

// The errors with which the context of a run ends when a signal arrives.
// host.ExitCode knows their codes.
var (
	errInterrupted = &host.Error{Code: "interrupted", Message: "interrupted"}
	errTerminated  = &host.Error{Code: "terminated", Message: "terminated"}
	errHangup      = &host.Error{Code: "hangup", Message: "hangup"}
)

// signalError returns the error for a signal.
func signalError(s os.Signal) *host.Error {
	switch s {
	case os.Interrupt:
		return errInterrupted
	case syscall.SIGHUP:
		return errHangup
	}
	return errTerminated
}

// bySignal reports whether err means that a signal has ended the run. For commands that run until
// they are interrupted, this is not an error.
func bySignal(err error) bool {
	return errors.Is(err, errInterrupted) || errors.Is(err, errTerminated) ||
		errors.Is(err, errHangup)
}

// sameRequest is the time in which a repeated signal counts as the first one, because one request
// often sends two signals: timeout(1) signals its child and then the process group, and both the
// kernel and the shell send SIGHUP when a terminal is closed.
const sameRequest = 200 * time.Millisecond

// watchSignals ends the run at the first signal, so that scripts can clean up, and kills the
// process at the second one. If there is a REPL, it passes interrupts to the REPL until another
// signal has ended the run.
func (c *cli) watchSignals(done <-chan struct{}) {
	var first os.Signal // nil until a signal ends the run
	var since time.Time
	for {
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
		case s == first && time.Since(since) < sameRequest:
		case first != nil:
			c.kill(host.ExitCode(signalError(s)))
			return
		case taker != nil && s == os.Interrupt:
			select {
			case taker <- s:
			default: // the channel is full of earlier interrupts
			}
		default:
			first, since = s, time.Now()
			c.stop(signalError(s))
		}
	}
}

func (c *cli) interruptTaker() chan<- os.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupts
}

// takeInterrupts returns a channel that receives the interrupts from now on.
func (c *cli) takeInterrupts() <-chan os.Signal {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupts = make(chan os.Signal, 4)
	return c.interrupts
}
