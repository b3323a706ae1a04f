package phone

import (
	"io/fs"
	"strconv"
)

// uiKit is the library that takes memory warnings for an app.
const uiKit = "/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore"

// WarnMemory tells one process that memory is short, whether it is or not; it
// logs that it was told. An unknown PID is fs.ErrNotExist, the kernel and launchd
// are fs.ErrPermission.
func (p *Phone) WarnMemory(pid int) error {
	_, ok := p.Process(pid)
	switch {
	case !ok:
		return fail("warn of memory", strconv.Itoa(pid), fs.ErrNotExist)
	case pid <= 1:
		return fail("warn of memory", strconv.Itoa(pid), fs.ErrPermission)
	}
	p.Log(LogEntry{
		PID: pid, ImagePath: uiKit, Subsystem: "com.apple.UIKit", Category: "Application",
		Message: "Received memory warning.",
	})
	return nil
}
