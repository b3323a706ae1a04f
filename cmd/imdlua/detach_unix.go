//go:build !windows

package main

import "syscall"

// detached makes the background process call setsid, so that it does not get the SIGINT and SIGHUP
// of the terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
