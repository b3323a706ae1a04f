//go:build !windows

package main

import "syscall"

// detached gives the background process a session of its own: the terminal's
// Ctrl-C and hang-up are not meant for it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
