//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// endSignals returns the signals that end the program. If SIGHUP is ignored when the program
// starts, as under nohup, it stays ignored.
func endSignals() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}
