// Package dvt speaks to Instruments' server on a device: a DTX connection with
// a channel for each of its services. It needs a mounted developer disk image.
// Only the way to it has changed over the years: a lockdown service with TLS
// for the handshake alone before iOS 14, with TLS up to iOS 16, and a service
// of the tunnel since iOS 17.
//
// A Session is one such connection, which all tasks of a program share. It
// opens a channel at its first use and keeps it; what streams (samples,
// notifications, the output of a process) has a channel of its own.
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
// Arguments are archives, whatever their kind; void methods are answered with
// an acknowledgement. Which selectors a device has depends on its version: an
// absent one is errors.ErrUnsupported.
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
	// Service is how Instruments' server is reached since iOS 14.
	Service = service.Name{
		Lockdown: "com.apple.instruments.remoteserver.DVTSecureSocketProxy",
		Remote:   "com.apple.instruments.dtservicehub",
		NeedsDDI: true,
	}
	// OldService is how it is reached before iOS 14.
	OldService = service.Name{
		Lockdown: "com.apple.instruments.remoteserver", HandshakeOnlyTLS: true, NeedsDDI: true,
	}
)

const services = "com.apple.instruments.server.services."

// Identifiers of the channels that this package knows.
const (
	ChannelDeviceInfo     = services + "deviceinfo"
	ChannelProcessControl = services + "processcontrol"
	// ChannelApplications is spelled as the device spells it.
	ChannelApplications  = services + "device.applictionListing"
	ChannelSysmon        = services + "sysmontap"
	ChannelScreenshot    = services + "screenshot"
	ChannelLocation      = services + "LocationSimulation"
	ChannelConditions    = services + "ConditionInducer"
	ChannelNotifications = services + "mobilenotifications"
)

// capTermination is published by hosts that want to hear of processes' ends.
const capTermination = "com.apple.instruments.client.processcontrol.capability.terminationCallback"

// Error domains of refusals.
const (
	domainProcessControl = "com.apple.dt.deviceprocesscontrolservice"
	domainFrontBoard     = "FBSOpenApplicationErrorDomain"
	domainPOSIX          = "NSPOSIXErrorDomain"

	codeFrontBoardUnknown = 4 // no such app
	codeFrontBoardLocked  = 7

	// Numbers of Darwin, which are those of other systems too.
	codeEPERM  = 1
	codeENOENT = 2
	codeESRCH  = 3
	codeEACCES = 13
	codeEINVAL = 22

	textConditionActive = "A condition is already active."
)

var (
	// ErrProtocol is the cause when an answer does not have the expected form.
	ErrProtocol = link.Malformed("unexpected answer")
	// ErrLocked matches the refusal to launch on a locked device.
	ErrLocked = errors.New("device is locked")
	// ErrConditionActive matches the refusal of a second condition.
	ErrConditionActive = errors.New("a condition is already active")
	// ErrTooManyChannels is the cause when the session's budget is spent.
	ErrTooManyChannels = errors.New("too many channels on this session")
)

// Error is every failure of the package.
type Error struct {
	Op      string // what was tried, in words
	Subject string // on what
	Err     error
}

// Error gives `dvt: launch "com.example.none": <the device's text>`.
func (e *Error) Error() string {
	return link.Attempt("dvt", e.Op, e.Subject) + ": " +
		strings.TrimPrefix(e.Err.Error(), "dtx: ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Remote returns what the device refused with, or nil.
func (e *Error) Remote() *nskeyed.NSError {
	var ns *nskeyed.NSError
	errors.As(e.Err, &ns)
	return ns
}

// Is finds fs.ErrNotExist for an unknown app, process or file, fs.ErrPermission
// for what must not be touched, errors.ErrUnsupported for a channel or selector
// that this device lacks, ErrLocked and ErrConditionActive.
func (e *Error) Is(target error) bool {
	if target == errors.ErrUnsupported {
		return errors.Is(e.Err, dtx.ErrUnknownSelector) || e.noChannel()
	}
	for ns := e.Remote(); ns != nil; ns = ns.Underlying() {
		if means(ns) == target && target != nil {
			return true
		}
	}
	return false
}

// noChannel reports whether the device refused a channel.
func (e *Error) noChannel() bool {
	var d *dtx.Error
	return errors.As(e.Err, &d) && d.Op == "open channel" && d.Remote() != nil
}

// means translates a refusal.
func means(ns *nskeyed.NSError) error {
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

// refusePOSIX is a refusal by number.
func refusePOSIX(code int64) *nskeyed.NSError {
	text := map[int64]string{codeEPERM: "Operation not permitted",
		codeENOENT: "No such file or directory", codeESRCH: "No such process",
		codeEACCES: "Permission denied", codeEINVAL: "Invalid argument"}[code]
	return dtx.Refuse(domainPOSIX, code, "The operation couldn’t be completed. "+text)
}
