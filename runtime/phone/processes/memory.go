package processes

import (
	"io/fs"
	"strconv"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// uiKit is the library that receives the memory warnings of an app.
const uiKit = "/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore"

// WarnMemory sends a memory warning to one process, whatever the memory level is.
// The process logs the warning. The error is fs.ErrNotExist for an unknown PID, and
// fs.ErrPermission for the kernel and launchd.
func (p *Processes) WarnMemory(pid int) error {
	_, ok := p.Find(pid)
	switch {
	case !ok:
		return failure.Wrap("warn of memory", strconv.Itoa(pid), fs.ErrNotExist)
	case pid <= 1:
		return failure.Wrap("warn of memory", strconv.Itoa(pid), fs.ErrPermission)
	}
	p.o.Log.Write(log.Entry{
		PID: pid, ImagePath: uiKit, Subsystem: "com.apple.UIKit", Category: "Application",
		Message: "Received memory warning.",
	})
	return nil
}
