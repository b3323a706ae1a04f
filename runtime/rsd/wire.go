// Package rsd is Remote Service Discovery, how iOS 17 and later tell what they
// are and which services they have. It is the first message of a RemoteXPC
// connection to remoted, at port 58783 of the USB Ethernet interface (few
// services, for hosts that are not paired) or at a port that a tunnel names (all
// of them). H is the host, D the device:
//
//	H, D  (RemoteXPC comes up, package remotexpc)
//	H  {MessageType: "Handshake", MessagingProtocolVersion: 7, UUID: ..,
//	    Properties: {RemoteXPCVersionFlags: .., SensitivePropertiesVisible: true}, Services: {}}
//	D  {MessageType: "Handshake", MessagingProtocolVersion: 5, UUID: ..,
//	    Properties: {UniqueDeviceID: "00008020-..", OSVersion: "18.5", ...},
//	    Services: {"com.apple.afc.shim.remote":
//	        {Port: "49170", Entitlement: "com.apple.mobile.lockdown.remote.trusted",
//	         Properties: {UsesRemoteXPC: false}}, ...}}
//
// The connection is kept. A host may see on it whether the device is there:
//
//	H  {MessageType: "Heartbeat", SequenceNumber: 1}   a request
//	D  {MessageType: "Heartbeat", SequenceNumber: 1}   its reply
//
// Services are reached at their port on the same address. Those of lockdown
// (".shim.remote") want a check-in of framed property lists and then speak as
// they always have, without TLS:
//
//	H  {Label: "imdlua", ProtocolVersion: "2", Request: "RSDCheckin"}
//	D  {Request: "RSDCheckin"}
//	D  {Request: "StartService"}                     or with Error: "InvalidService"
//
// Others speak RemoteXPC, and some their own protocol from the first byte on.
// The list is as old as its connection: services of a developer image that is
// mounted later appear to the next one.
package rsd

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

// Port is where the devices' list for hosts that are not paired is found, on
// the USB Ethernet interface.
const Port = 58783

// shimSuffix ends the names of lockdown's services.
const shimSuffix = ".shim.remote"

// Keys and message types.
const (
	keyMessageType     = "MessageType"
	keyProtocolVersion = "MessagingProtocolVersion"
	keyUUID            = "UUID"
	keyProperties      = "Properties"
	keyServices        = "Services"
	keySequence        = "SequenceNumber"

	typeHandshake = "Handshake"
	typeHeartbeat = "Heartbeat"
)

// hostProtocol is the messaging protocol of the newest hosts, hostFlags what
// they say of their RemoteXPC. remoted of iOS 26 insists on the flags.
const (
	hostProtocol = 7
	hostFlags    = 0x0100000000000006
)

// Check-in.
const (
	checkinRequest  = "RSDCheckin"
	checkinStart    = "StartService"
	checkinProtocol = "2"
	// maxCheckin bounds a property list of the check-in.
	maxCheckin = 1 << 20

	// maxList bounds the list of a device, and what it says besides.
	maxList = 8 << 20
	// maxServices bounds its entries; real ones have about a hundred.
	maxServices = 4096
	// maxAsked bounds what a host sends: its handshake and heartbeats.
	maxAsked = 1 << 20
	// proxyBudget bounds what all hosts that are connected to a Proxy send.
	proxyBudget = 16 << 20

	// handshakeTimeout bounds reading a list, and checkinTimeout a check-in on
	// either side, beside the context.
	handshakeTimeout = 30 * time.Second
	checkinTimeout   = 30 * time.Second
)

// Peer is what a device says of itself.
type Peer struct {
	// UUID changes with every boot.
	UUID xpc.UUID
	// ProtocolVersion is 3 on iOS 17, 5 on 18 and 7 on 26.
	ProtocolVersion uint64
	// Properties describe the device.
	Properties Properties
	// Services are the services by name.
	Services map[string]Service
}

// Properties are a device's properties. The getters return the zero value for
// what the device did not say; Dict has all of it.
type Properties struct{ xpc.Dict }

func (p Properties) text(key string) string {
	s, _ := p.String(key)
	return s
}

// UDID is the device's identifier, also known to lockdown and usbmux.
func (p Properties) UDID() string { return p.text("UniqueDeviceID") }

// ProductType is the model, "iPhone15,2".
func (p Properties) ProductType() string { return p.text("ProductType") }

// OSVersion is the iOS version, "17.5.1".
func (p Properties) OSVersion() string { return p.text("OSVersion") }

// BuildVersion is the build of iOS, "21F90".
func (p Properties) BuildVersion() string { return p.text("BuildVersion") }

// SerialNumber is the number on the back.
func (p Properties) SerialNumber() string { return p.text("SerialNumber") }

// HardwareModel is the board, "D73AP".
func (p Properties) HardwareModel() string { return p.text("HWModel") }

// DeviceClass is "iPhone", "iPad" and so on.
func (p Properties) DeviceClass() string { return p.text("DeviceClass") }

// ChipID is the number of the chip's model.
func (p Properties) ChipID() uint64 { n, _ := p.Uint("ChipID"); return n }

// BoardID is the number of the board's model.
func (p Properties) BoardID() uint64 { n, _ := p.Uint("BoardId"); return n }

// UniqueChipID is the ECID.
func (p Properties) UniqueChipID() uint64 { n, _ := p.Uint("UniqueChipID"); return n }

// BootSession is an identifier that changes with every boot.
func (p Properties) BootSession() string { return p.text("BootSessionUUID") }

// XPCFlags is the device's RemoteXPCVersionFlags.
func (p Properties) XPCFlags() uint64 { n, _ := p.Uint("RemoteXPCVersionFlags"); return n }

// Service is an entry of a device's list.
type Service struct {
	// Name is the key of the list.
	Name string
	// Port is where it listens, on the address of the list.
	Port uint16
	// Entitlement is what a program on the device needs to speak with it.
	Entitlement string
	// UsesRemoteXPC is what the entry says; see Transport for what is true.
	UsesRemoteXPC bool
	// Version is the ServiceVersion, 0 when there is none.
	Version int64
	// Features are what a CoreDevice service can do; nil when it does not say.
	Features []string
	// Properties are the entry's, as sent; nil when there are none.
	Properties xpc.Dict
}

// Transport is what a service speaks first.
type Transport int

const (
	// Raw services speak their own protocol from the first byte on.
	Raw Transport = iota
	// RemoteXPC services speak XPC over HTTP/2, package remotexpc.
	RemoteXPC
	// Checkin services want an RSDCheckin before their own protocol.
	Checkin
)

// rawServices say that they use RemoteXPC and do not.
var rawServices = map[string]bool{
	"com.apple.internal.dt.remote.debugproxy":     true, // GDB's remote protocol
	"com.apple.coredevice.fileservice.data":       true, // "rwb!FILE"
	"com.apple.coredevice.openstdiosocket":        true, // 16 bytes of a UUID, then a terminal
	"com.apple.instruments.dtservicehub":          true, // DTX; says nothing
	"com.apple.dt.testmanagerd.remote":            true,
	"com.apple.dt.testmanagerd.remote.automation": true,
}

// Transport tells what the service speaks first. Lockdown over RSD is one of
// property lists though an early iOS 17 says otherwise.
func (s *Service) Transport() Transport {
	switch {
	case strings.HasSuffix(s.Name, shimSuffix),
		strings.HasPrefix(s.Name, "com.apple.mobile.lockdown.remote."):
		return Checkin
	case rawServices[s.Name] || !s.UsesRemoteXPC:
		return Raw
	}
	return RemoteXPC
}

// HasFeature reports whether the service has a feature, or does not say which
// ones it has.
func (s *Service) HasFeature(name string) bool {
	for _, f := range s.Features {
		if f == name {
			return true
		}
	}
	return len(s.Features) == 0
}

// decodePeer reads a handshake. Entries without a usable port are passed over,
// as other hosts do.
func decodePeer(d xpc.Dict) (*Peer, error) {
	if t, _ := d.String(keyMessageType); t != typeHandshake {
		return nil, link.Malformed(
			fmt.Sprintf("message is %q, not %s", link.Clip(t), typeHandshake),
		)
	}
	props, ok := d.Dict(keyProperties)
	if !ok {
		return nil, link.Malformed("handshake without " + keyProperties)
	}
	list, ok := d.Dict(keyServices)
	if !ok {
		return nil, link.Malformed("handshake without " + keyServices)
	}
	if len(list) > maxServices {
		return nil, link.Malformed(
			fmt.Sprintf("%d services are over the limit of %d", len(list), maxServices),
		)
	}
	p := &Peer{Properties: Properties{props}, Services: make(map[string]Service, len(list))}
	p.UUID, _ = d.UUID(keyUUID)
	p.ProtocolVersion, _ = d.Uint(keyProtocolVersion)
	for _, e := range list {
		entry, ok := e.Value.(xpc.Dict)
		if !ok {
			continue
		}
		if s, ok := decodeService(e.Key, entry); ok {
			p.Services[e.Key] = s
		}
	}
	return p, nil
}

func decodeService(name string, d xpc.Dict) (Service, bool) {
	s := Service{Name: name}
	port, ok := d.Uint("Port")
	if text, isText := d.String("Port"); isText {
		n, err := strconv.ParseUint(text, 10, 16)
		port, ok = n, err == nil
	}
	if !ok || port == 0 || port > math.MaxUint16 {
		return s, false
	}
	s.Port = uint16(port)
	s.Entitlement, _ = d.String("Entitlement")
	s.Properties, _ = d.Dict("Properties")
	s.UsesRemoteXPC, _ = s.Properties.Bool("UsesRemoteXPC")
	s.Version, _ = s.Properties.Int("ServiceVersion")
	if features, ok := s.Properties.Array("Features"); ok {
		s.Features = []string{}
		for _, f := range features {
			if text, ok := f.(string); ok {
				s.Features = append(s.Features, text)
			}
		}
	}
	return s, true
}

// encode makes the entry of a service. Ports are text: go-ios takes nothing
// else.
func (s *Service) encode() xpc.Dict {
	d := xpc.Dict{
		{Key: "Entitlement", Value: s.Entitlement}, {Key: "Port", Value: strconv.Itoa(int(s.Port))},
	}
	if s.Properties != nil {
		d = append(d, xpc.Pair{Key: "Properties", Value: s.Properties})
	}
	return d
}

// hostHandshake is what a host says.
func hostHandshake(id xpc.UUID) xpc.Dict {
	return xpc.Dict{
		{Key: keyMessageType, Value: typeHandshake},
		{Key: keyProtocolVersion, Value: uint64(hostProtocol)},
		{Key: keyUUID, Value: id},
		{Key: keyProperties, Value: xpc.Dict{
			{Key: "RemoteXPCVersionFlags", Value: uint64(hostFlags)},
			{Key: "SensitivePropertiesVisible", Value: true},
		}},
		{Key: keyServices, Value: xpc.Dict{}},
	}
}

func heartbeat(n uint64) xpc.Dict {
	return xpc.Dict{{Key: keyMessageType, Value: typeHeartbeat}, {Key: keySequence, Value: n}}
}

// Code is why a device refuses a check-in, as sent: lockdown's words.
type Code string

// Error returns the code as the device writes it.
func (c Code) Error() string { return string(c) }

// Is maps codes to the general errors of io/fs where one fits.
func (c Code) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return c == ErrInvalidService
	case fs.ErrPermission:
		return c == ErrPasswordProtected || c == ErrServiceProhibited
	}
	return false
}

// Codes that a check-in is known to fail with.
const (
	ErrInvalidService    Code = "InvalidService"
	ErrPasswordProtected Code = "PasswordProtected" // locked, and no escrow bag came along
	ErrServiceProhibited Code = "ServiceProhibited"
)

// ErrNotListed is the cause of an Error when the device's list has no such
// service. It is fs.ErrNotExist.
var ErrNotListed = link.Cause("service is not listed", fs.ErrNotExist)

// Error is every failure of the package.
type Error struct {
	// Op is what was tried: "dial", "handshake", "heartbeat", "open",
	// "checkin", "serve".
	Op string
	// Service is the service that it was about, "" when it was the list.
	Service string
	// Code is the device's refusal, "" when the cause is Err.
	Code Code
	// Detail is the ErrorDescription that may come with Code.
	Detail string
	// Err is the cause.
	Err error
}

// Error says `rsd: open "com.apple.afc.shim.remote": service is not listed`.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(link.Attempt("rsd", e.Op, e.Service))
	if e.Code != "" {
		b.WriteString(": " + link.Clip(string(e.Code)))
	}
	if e.Detail != "" {
		b.WriteString(" (" + link.Clip(e.Detail) + ")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the code and the cause, those that are set.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Code != "" {
		errs = append(errs, e.Code)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}
