// Package diagnosticsrelay queries the state of a device and restarts it or turns it
// off (com.apple.mobile.diagnostics_relay, iOS 5 and later).
//
// Requests and answers alternate. A connection serves any number of them:
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
// Since iOS 17.4 the answer to every MobileGestalt request holds the inner Status
// "MobileGestaltDeprecated" and no values.
package diagnosticsrelay

import (
	"errors"
	"io/fs"
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
	// MaxRequest bounds the size of a request.
	MaxRequest = 1 << 20
	// MaxAnswer bounds the size of an answer. A whole plane of the registry takes
	// several megabytes.
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

// Codes that devices send instead of Success.
const (
	ErrFailure           service.Code = "Failure"
	ErrUnknownRequest    service.Code = "UnknownRequest"
	ErrGestaltDeprecated service.Code = "MobileGestaltDeprecated"

	success service.Code = "Success"
)

// errs maps the codes for requests that a version of iOS does not support, or no longer
// supports.
var errs = service.Errors{
	Service: "diagnosticsrelay",
	Codes: map[service.Code]error{
		ErrUnknownRequest:    errors.ErrUnsupported,
		ErrGestaltDeprecated: errors.ErrUnsupported,
	},
}

var (
	// ErrNotFound is the cause if no registry entry matches a query. It matches
	// fs.ErrNotExist.
	ErrNotFound = link.Cause("no such entry", fs.ErrNotExist)
	// ErrProtocol is the cause if an answer does not have the expected form.
	ErrProtocol = link.Malformed("unexpected answer")
)

// Query selects a registry entry. An empty field does not restrict the selection. A
// query with only a plane selects the whole tree of the plane.
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
	// WaitForDisconnect delays the action until the connection is closed.
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

// Battery holds the values of the power source in the registry (IOPMPowerSource).
// Values that the device does not report are zero.
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
	// Some versions of iOS send a negative current n as the unsigned number 2^64+n.
	if u, ok := d["InstantAmperage"].(uint64); ok {
		b.Milliamperes = int(int64(u))
	}
	b.Serial, _ = d.String("Serial")
	if u, ok := d.Int("UpdateTime"); ok && u > 0 {
		b.Updated = time.Unix(u, 0).UTC()
	}
	return b
}
