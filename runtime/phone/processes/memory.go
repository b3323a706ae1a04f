package processes

import (
	"io/fs"
	"strconv"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// uiKit is the library that takes memory warnings for an app.
const uiKit = "/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore"

// WarnMemory tells one process that memory is short, whether it is or not; it
// logs that it was told. An unknown PID is fs.ErrNotExist, the kernel and launchd
// are fs.ErrPermission.
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
