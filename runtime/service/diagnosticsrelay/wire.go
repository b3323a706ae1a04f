// Package diagnosticsrelay asks a device about itself and turns it off
// (com.apple.mobile.diagnostics_relay, iOS 5 and later).
//
// Requests and answers alternate, as many as one likes on a connection:
//
//	-> {Request:"IORegistry", EntryClass:"IOPMPowerSource"}
//	<- {Status:"Success", Diagnostics:{IORegistry:{CurrentCapacity:87, ..}}}
//	-> {Request:"MobileGestalt", MobileGestaltKeys:["ProductType"]}
//	<- {Status:"Success", Diagnostics:{MobileGestalt:{Status:"Success", ProductType:"iPhone15,2"}}}
//	-> {Request:"Restart", WaitForDisconnect:true}
//	<- {Status:"Success"}
//	-> {Request:"Goodbye"}
//	<- {Status:"Success"}                      then the device restarts
//
// Since iOS 17.4 every MobileGestalt request gets the inner status
// "MobileGestaltDeprecated" and nothing else.
package diagnosticsrelay

import (
	"errors"
	"io/fs"
	"strconv"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the diagnostics relay.
var Service = service.Name{
	Lockdown: "com.apple.mobile.diagnostics_relay",
	Remote:   "com.apple.mobile.diagnostics_relay.shim.remote",
	Checkin:  true,
}

const (
	// MaxRequest bounds a request.
	MaxRequest = 1 << 20
	// MaxAnswer bounds an answer; a whole registry plane is some megabytes.
	MaxAnswer = 64 << 20
)

// Requests.
const (
	reqAll        = "All"
	reqWiFi       = "WiFi"
	reqGasGauge   = "GasGauge"
	reqNAND       = "NAND"
	reqHDMI       = "HDMI"
	reqGestalt    = "MobileGestalt"
	reqIORegistry = "IORegistry"
	reqRestart    = "Restart"
	reqShutdown   = "Shutdown"
	reqSleep      = "Sleep"
	reqGoodbye    = "Goodbye"
)

// Code is a Status as devices send it. errors.Is finds it in an Error.
type Code string

// The codes that devices send instead of Success.
const (
	ErrFailure           Code = "Failure"
	ErrUnknownRequest    Code = "UnknownRequest"
	ErrGestaltDeprecated Code = "MobileGestaltDeprecated"

	success Code = "Success"
)

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Error is every failure of the package.
type Error struct {
	Op      string // the request, in words
	Subject string // what was asked for
	Code    Code   // the device's status, when it refused
	Err     error
}

func (e *Error) Error() string {
	s := "diagnosticsrelay: " + e.Op
	if e.Subject != "" {
		s += " " + strconv.Quote(e.Subject)
	}
	if e.Code != "" {
		s += ": " + string(e.Code)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is finds the code, fs.ErrNotExist for a query without a match, and
// errors.ErrUnsupported for what this device's iOS version has not or no
// longer.
func (e *Error) Is(target error) bool {
	switch target {
	case errors.ErrUnsupported:
		return e.Code == ErrUnknownRequest || e.Code == ErrGestaltDeprecated
	case fs.ErrNotExist:
		return e.Err == ErrNotFound
	}
	c, ok := target.(Code)
	return ok && c == e.Code && c != ""
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrNotFound is the cause when a registry query matches no entry.
	ErrNotFound = errors.New("no such entry")
	// ErrProtocol is the cause when an answer does not have the expected form.
	ErrProtocol = link.Malformed("unexpected answer")
)

// Query selects a registry entry. Empty fields do not restrict; a query with
// nothing but a plane returns the plane's tree.
type Query struct {
	Plane string // "IOService" (default), "IODeviceTree", "IOPower"
	Name  string
	Class string
}

func (q Query) request() plist.Dict {
	d := plist.Dict{"Request": reqIORegistry}
	for key, v := range map[string]string{
		"CurrentPlane": q.Plane, "EntryName": q.Name, "EntryClass": q.Class,
	} {
		if v != "" {
			d[key] = v
		}
	}
	return d
}

func (q Query) String() string {
	switch {
	case q.Name != "":
		return q.Name
	case q.Class != "":
		return q.Class
	}
	return q.Plane
}

// PowerOptions are the options of Restart and Shutdown.
type PowerOptions struct {
	// WaitForDisconnect puts the action off until the connection is closed.
	WaitForDisconnect bool
	DisplayPass       bool
	DisplayFail       bool
}

func (o PowerOptions) request(name string) plist.Dict {
	d := plist.Dict{"Request": name}
	for key, v := range map[string]bool{
		"WaitForDisconnect": o.WaitForDisconnect, "DisplayPass": o.DisplayPass,
		"DisplayFail": o.DisplayFail,
	} {
		if v {
			d[key] = true
		}
	}
	return d
}

// Battery is what the power source in the registry (IOPMPowerSource) tells.
// What the device does not report is zero.
type Battery struct {
	Percent            int
	Charging           bool
	ExternalConnected  bool
	FullyCharged       bool
	AtCriticalLevel    bool
	AtWarnLevel        bool
	Temperature        float64 // degrees Celsius
	Millivolts         int
	Milliamperes       int // negative while discharging
	CycleCount         int
	DesignCapacity     int // mAh
	NominalCapacity    int // mAh
	RawMaxCapacity     int // mAh
	RawCurrentCapacity int // mAh
	Serial             string
	Updated            time.Time
	Raw                plist.Dict // the whole entry
}

// parseBattery reads an IOPMPowerSource entry.
func parseBattery(d plist.Dict) Battery {
	number := func(key string) int { n, _ := d.Int(key); return int(n) }
	flag := func(key string) bool { v, _ := d.Bool(key); return v }
	b := Battery{
		Percent: number("CurrentCapacity"), Charging: flag("IsCharging"),
		ExternalConnected: flag("ExternalConnected"), FullyCharged: flag("FullyCharged"),
		AtCriticalLevel: flag("AtCriticalLevel"), AtWarnLevel: flag("AtWarnLevel"),
		Millivolts: number("Voltage"), Milliamperes: number("InstantAmperage"),
		CycleCount: number("CycleCount"), DesignCapacity: number("DesignCapacity"),
		NominalCapacity:    number("NominalChargeCapacity"),
		RawMaxCapacity:     number("AppleRawMaxCapacity"),
		RawCurrentCapacity: number("AppleRawCurrentCapacity"),
		Raw:                d,
	}
	if t, ok := d.Real("Temperature"); ok {
		b.Temperature = t / 100 // hundredths on the wire
	}
	// Negative currents arrive as 2^64-n from some versions.
	if u, ok := d["InstantAmperage"].(uint64); ok {
		b.Milliamperes = int(int64(u))
	}
	b.Serial, _ = d.String("Serial")
	if u, ok := d.Int("UpdateTime"); ok && u > 0 {
		b.Updated = time.Unix(u, 0).UTC()
	}
	return b
}
