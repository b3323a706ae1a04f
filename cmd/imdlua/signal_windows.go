package main

import (
	"os"
	"syscall"
)

// endSignals returns the signals that end the program. Closing the console,
// logging off and shutting down arrive as SIGTERM.
func endSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }
