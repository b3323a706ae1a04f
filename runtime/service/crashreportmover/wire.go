// Package crashreportmover asks a device to gather its pending crash reports,
// after which the service crashreportcopymobile shows them.
//
//	-> (nothing; to connect is the request)
//	<- 70 69 6E 67 00    "ping\0": the reports are in place
//
// There is no frame. A device with much to move takes its time, up to some
// twenty seconds.
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

// ping is all that the device ever says. Clients compare the first four bytes
// or all five, some after a single read: it must leave in one write.
const ping = "ping\x00"

var errs = service.Errors{Service: "crashreportmover"}

// errPing is an answer that is not a ping.
var errPing = link.Malformed("unexpected answer")
