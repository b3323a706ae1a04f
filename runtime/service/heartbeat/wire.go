// Package heartbeat shows a device that its host is alive
// (com.apple.mobile.heartbeat, iOS 6 and later). Without it a device ends the
// service connections that it serves over Wi-Fi.
//
// The device speaks first, and every Interval seconds again:
//
//	<- {Command:"Marco", Interval:10, SupportsSleepyTime:true}
//	-> {Command:"Polo"}
//	<- {Command:"SleepyTime"}        the device goes to sleep and closes
//
// A device that waits an interval longer than its own for Polo closes.
package heartbeat

import (
	"errors"
	"io"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the heartbeat.
var Service = service.Name{
	Lockdown: "com.apple.mobile.heartbeat",
	Remote:   "com.apple.mobile.heartbeat.shim.remote",
	Checkin:  true,
}

// MaxMessage bounds a message.
const MaxMessage = 64 << 10

// Commands.
const (
	cmdMarco  = "Marco"
	cmdPolo   = "Polo"
	cmdSleepy = "SleepyTime"
)

// maxInterval bounds what a device may announce.
const maxInterval = 3600

// marco is what the device sends. Interval is unsigned on the wire, and one
// client insists on that.
type marco struct {
	Command            string `plist:"Command"`
	Interval           uint64 `plist:"Interval,omitempty"`
	SupportsSleepyTime bool   `plist:"SupportsSleepyTime,omitempty"`
}

// polo is what the host answers.
type polo struct {
	Command string `plist:"Command"`
}

// Beat is one message of the device, already answered.
type Beat struct {
	Interval time.Duration // until the next one; 0 when not told
	Sleepy   bool          // the device understands and announces sleep
}

var errs = service.Errors{Service: "heartbeat"}

var (
	// ErrSleep is the cause when the device announced that it goes to sleep. It is io.EOF:
	// the device closes behind it.
	ErrSleep = link.Cause("device goes to sleep", io.EOF)
	// ErrProtocol is the cause when the device sends something else.
	ErrProtocol = link.Malformed("unexpected message")
	// ErrMissed is the cause when the host did not answer in time (device
	// side).
	ErrMissed = errors.New("no answer from the host")
)
