// Package dvt implements a client of the Instruments server of a device, and its device
// side. The protocol is a DTX connection with one channel for each service of the
// server. The server needs a mounted developer disk image. Versions of iOS differ only
// in how the server is reached: by a lockdown service with TLS only for the handshake
// before iOS 14, by a lockdown service with TLS up to iOS 16, and by a service of the
// tunnel since iOS 17.
//
// A Session is one such connection. All tasks of a program share it. It opens a channel
// on first use and keeps it open. Each stream (samples, notifications, the output of a
// process) has a channel of its own.
//
//	both    0  _notifyOfPublishedCapabilities:  {name: version, ...}
//	host    0  _requestChannelWithCode:identifier:  1, "...services.processcontrol"
//	device  0  ack
//	host   +1  launchSuspendedProcessWithDevicePath:bundleIdentifier:environment:arguments:options:
//	           "", "com.example.shop", {A: 1}, ["-x"], {KillExisting: true}
//	device +1  212
//	device -1  outputReceived:fromProcess:atTime:  "hello\n", int32 212, int64 mach time
//	host   +1  killPid:  212
//	device -1  processWithPID:terminatedWithExitCode:orCrashingSignal:  212, nil, 9
//
//	host    0  _requestChannelWithCode:identifier:  2, "...services.sysmontap"
//	host   +2  setConfig:  {ur: 1000, procAttrs: [pid, name], sysAttrs: [], ...}
//	host   +2  start
//	device -2  DTSysmonTapMessage {k: 0, tv: 65536}          type Object
//	device -2  [{CPUCount: 6, ...}, {Processes: {212: [...]}}]  type Data
//
// Arguments of every kind are archived. The answer to a method without a result is an
// acknowledgement. Which selectors a device has depends on its version; the error for a
// missing one matches errors.ErrUnsupported.
package dvt

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

var (
	// Service is the Instruments server of devices since iOS 14.
	Service = service.Name{
		Lockdown: "com.apple.instruments.remoteserver.DVTSecureSocketProxy",
		Remote:   "com.apple.instruments.dtservicehub",
		NeedsDDI: true,
	}
	// OldService is the Instruments server of devices before iOS 14.
	OldService = service.Name{
		Lockdown: "com.apple.instruments.remoteserver", HandshakeOnlyTLS: true, NeedsDDI: true,
	}
)

const services = "com.apple.instruments.server.services."

// Identifiers of the channels that this package uses.
const (
	ChannelDeviceInfo     = services + "deviceinfo"
	ChannelProcessControl = services + "processcontrol"
	// ChannelApplications has this spelling on the device.
	ChannelApplications  = services + "device.applictionListing"
	ChannelSysmon        = services + "sysmontap"
	ChannelScreenshot    = services + "screenshot"
	ChannelLocation      = services + "LocationSimulation"
	ChannelConditions    = services + "ConditionInducer"
	ChannelNotifications = services + "mobilenotifications"
)

// capTermination is published by hosts that want to be told when processes end.
const capTermination = "com.apple.instruments.client.processcontrol.capability.terminationCallback"

// Domains and codes of the errors that devices send.
const (
	domainProcessControl = "com.apple.dt.deviceprocesscontrolservice"
	domainFrontBoard     = "FBSOpenApplicationErrorDomain"
	domainPOSIX          = "NSPOSIXErrorDomain"

	codeFrontBoardUnknown = 4 // no such app
	codeFrontBoardLocked  = 7

	// These errno values of Darwin are the same on other systems.
	codeEPERM  = 1
	codeENOENT = 2
	codeESRCH  = 3
	codeEACCES = 13
	codeEINVAL = 22

	textConditionActive = "A condition is already active."
)

var (
	// ErrProtocol is the cause if an answer does not have the expected form.
	ErrProtocol = link.Malformed("unexpected answer")
	// ErrLocked matches the refusal to launch an app while the device is locked.
	ErrLocked = errors.New("device is locked")
	// ErrConditionActive matches the refusal of a second condition.
	ErrConditionActive = errors.New("a condition is already active")
	// ErrTooManyChannels is the cause if Options.MaxChannels channels are already open.
	ErrTooManyChannels = errors.New("too many channels on this session")
)

// Error is the error of every operation of the package.
type Error struct {
	Op      string // operation that failed
	Subject string // object of the operation
	Err     error
}

// Error returns a text such as `dvt: launch "com.example.none": <text of the device>`.
func (e *Error) Error() string {
	return link.Attempt("dvt", e.Op, e.Subject) + ": " +
		strings.TrimPrefix(e.Err.Error(), "dtx: ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Remote returns the error that the device sent, or nil if it did not send one.
func (e *Error) Remote() *nskeyed.NSError {
	var ns *nskeyed.NSError
	errors.As(e.Err, &ns)
	return ns
}

// Is reports whether the error matches target: fs.ErrNotExist for an unknown app,
// process or file, fs.ErrPermission for a missing permission, errors.ErrUnsupported for
// a channel or selector that the device does not have, ErrLocked or ErrConditionActive.
func (e *Error) Is(target error) bool {
	if target == errors.ErrUnsupported {
		return errors.Is(e.Err, dtx.ErrUnknownSelector) || e.noChannel()
	}
	for ns := e.Remote(); ns != nil; ns = ns.Underlying() {
		if generalError(ns) == target && target != nil {
			return true
		}
	}
	return false
}

// noChannel reports whether the device refused to open a channel.
func (e *Error) noChannel() bool {
	var d *dtx.Error
	return errors.As(e.Err, &d) && d.Op == "open channel" && d.Remote() != nil
}

// generalError returns the general error that a refusal stands for, or nil if there is
// none.
func generalError(ns *nskeyed.NSError) error {
	switch {
	case ns.Domain == domainPOSIX && (ns.Code == codeENOENT || ns.Code == codeESRCH):
		return fs.ErrNotExist
	case ns.Domain == domainPOSIX && (ns.Code == codeEPERM || ns.Code == codeEACCES):
		return fs.ErrPermission
	case ns.Domain == domainPOSIX && ns.Code == codeEINVAL:
		return fs.ErrInvalid
	case ns.Domain == domainFrontBoard && ns.Code == codeFrontBoardUnknown:
		return fs.ErrNotExist
	case ns.Domain == domainFrontBoard && ns.Code == codeFrontBoardLocked:
		return ErrLocked
	case ns.Description() == textConditionActive:
		return ErrConditionActive
	}
	return nil
}

// refusePOSIX returns a refusal with an errno value.
func refusePOSIX(code int64) *nskeyed.NSError {
	text := map[int64]string{codeEPERM: "Operation not permitted",
		codeENOENT: "No such file or directory", codeESRCH: "No such process",
		codeEACCES: "Permission denied", codeEINVAL: "Invalid argument"}[code]
	return dtx.Refuse(domainPOSIX, code, "The operation couldn’t be completed. "+text)
}
