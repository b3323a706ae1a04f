package main

import "syscall"

// detached keeps the background process away from the console's Ctrl-C and its
// closing: DETACHED_PROCESS and CREATE_NEW_PROCESS_GROUP.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: 0x00000008 | 0x00000200, HideWindow: true}
}
