// Package heartbeat answers the messages by which a device checks that its host is
// alive (com.apple.mobile.heartbeat, iOS 6 and later). If the host does not answer, a
// device ends the service connections that it serves to the host over Wi-Fi.
//
// The device sends the first message, and another one every Interval seconds:
//
//	<- {Command:"Marco", Interval:10, SupportsSleepyTime:true}
//	-> {Command:"Polo"}
//	<- {Command:"SleepyTime"}        the device goes to sleep and closes
//
// If Polo does not come within the interval, the device waits for one more interval and
// then closes the connection.
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

// MaxMessage bounds the size of a message.
const MaxMessage = 64 << 10

// Commands.
const (
	cmdMarco  = "Marco"
	cmdPolo   = "Polo"
	cmdSleepy = "SleepyTime"
)

// maxInterval bounds the interval that a device may announce.
const maxInterval = 3600

// marco is the message of the device. Interval is unsigned on the wire, and idevice
// requires that.
type marco struct {
	Command            string `plist:"Command"`
	Interval           uint64 `plist:"Interval,omitempty"`
	SupportsSleepyTime bool   `plist:"SupportsSleepyTime,omitempty"`
}

// polo is the answer of the host.
type polo struct {
	Command string `plist:"Command"`
}

// Beat is a message of the device that the client has answered.
type Beat struct {
	Interval time.Duration // until the next message; 0 if the device did not send it
	Sleepy   bool          // the device will announce when it goes to sleep
}

var errs = service.Errors{Service: "heartbeat"}

var (
	// ErrSleep is the cause if the device announced that it goes to sleep. It matches
	// io.EOF, because the device then closes the connection.
	ErrSleep = link.Cause("device goes to sleep", io.EOF)
	// ErrProtocol is the cause if the device sends an unexpected message.
	ErrProtocol = link.Malformed("unexpected message")
	// ErrMissed is the cause on the device side if the host did not answer in time.
	ErrMissed = errors.New("no answer from the host")
)
