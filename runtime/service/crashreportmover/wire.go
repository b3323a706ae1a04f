// Package crashreportmover asks a device to move its pending crash reports to the place
// where the service crashreportcopymobile shows them.
//
//	-> (nothing; to connect is the request)
//	<- 70 69 6E 67 00    "ping\0": the reports are in place
//
// The answer has no frame. A device with many reports takes up to about twenty seconds.
package crashreportmover

import (
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the crash report mover.
var Service = service.Name{
	Lockdown: "com.apple.crashreportmover",
	Remote:   "com.apple.crashreportmover.shim.remote",
	Checkin:  true,
	Escrow:   true,
}

// ping is the only message of the device. It must be sent in one write:
// libimobiledevice and go-ios compare the first four bytes, appium
// compares all five, and go-ios reads only once.
const ping = "ping\x00"

var errs = service.Errors{Service: "crashreportmover"}

// errPing is the cause if the answer is not a ping.
var errPing = link.Malformed("unexpected answer")
