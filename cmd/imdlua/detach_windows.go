package main

import "syscall"

// detached starts the background process with DETACHED_PROCESS and CREATE_NEW_PROCESS_GROUP, so
// that Ctrl-C and the closing of the console do not end it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: 0x00000008 | 0x00000200, HideWindow: true}
}
