// Package rsd is Remote Service Discovery, by which iOS 17 and later describe the
// device and list its services. It is the first message of a RemoteXPC connection to
// remoted. remoted listens at port 58783 of the USB Ethernet interface, with few
// services for hosts that are not paired, and at a port that a tunnel names, with all
// services. H is the host, D the device:
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
// The connection is kept open. Since iOS 27.2 the device keeps one connection for each
// list, the newest. It compares the host's UUID with that of the last handshake. If the
// UUIDs differ, the device closes the ports of all services and opens others, which the
// virtual device announces by a second Handshake on the new connection. A host therefore
// has one UUID for all of its programs. A host may check on it whether the device is there:
//
//	H  {MessageType: "Heartbeat", SequenceNumber: 1}   a request
//	D  {MessageType: "Heartbeat", SequenceNumber: 1}   its reply
//
// A service listens on its port at the same address. Those of lockdown (".shim.remote")
// require a check-in of framed property lists. They then speak the same protocol as
// without a tunnel, but without TLS:
//
//	H  {Label: "imdlua", ProtocolVersion: "2", Request: "RSDCheckin"}
//	D  {Request: "RSDCheckin"}
//	D  {Request: "StartService"}                     or with Error: "InvalidService"
//
// The other services speak RemoteXPC, or a protocol of their own from the first byte
// on. The list does not change on an open connection: services of a developer image
// that is mounted later are listed on the next connection.
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

// Port is the port of the list for hosts that are not paired, on the USB Ethernet
// interface.
const Port = 58783

// UsualPatience is the Options.Patience for a device that is known.
const UsualPatience = 2 * time.Second

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

// hostProtocol is the messaging protocol of the newest hosts, and hostFlags their
// RemoteXPC flags. remoted of iOS 26 requires the flags.
const (
	hostProtocol = 7
	hostFlags    = 0x0100000000000006
)

// Requests of the check-in.
const (
	checkinRequest  = "RSDCheckin"
	checkinStart    = "StartService"
	checkinProtocol = "2"
	// maxCheckin bounds a property list of the check-in.
	maxCheckin = 1 << 20

	// maxList bounds the description and list of a device.
	maxList = 8 << 20
	// maxServices bounds the number of entries. Real lists have about a hundred.
	maxServices = 4096
	// maxAsked bounds a host's handshake and heartbeats.
	maxAsked = 1 << 20
	// proxyBudget bounds what all connected hosts of a Proxy send.
	proxyBudget = 16 << 20

	// handshakeTimeout bounds reading a list, and checkinTimeout a check-in on either
	// side. The context bounds them, too.
	handshakeTimeout = 30 * time.Second
	checkinTimeout   = 30 * time.Second

	// firstPause is the first pause before a list is read again whose connection the
	// device has ended. Each pause is twice as long as the one before.
	firstPause = 100 * time.Millisecond
	// maxRereads is how often the list is read again for a service that refuses
	// connections.
	maxRereads = 2
)

// Peer is a device's description of itself.
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

// Properties are a device's properties. A getter returns the zero value if the device
// did not send the property. Dict has all properties.
type Properties struct{ xpc.Dict }

func (p Properties) text(key string) string {
	s, _ := p.String(key)
	return s
}

// UDID is the device's identifier, the same as in lockdown and usbmux.
func (p Properties) UDID() string { return p.text("UniqueDeviceID") }

// ProductType is the model, such as "iPhone15,2".
func (p Properties) ProductType() string { return p.text("ProductType") }

// OSVersion is the iOS version, such as "17.5.1".
func (p Properties) OSVersion() string { return p.text("OSVersion") }

// BuildVersion is the build of iOS, such as "21F90".
func (p Properties) BuildVersion() string { return p.text("BuildVersion") }

// SerialNumber is the serial number of the device.
func (p Properties) SerialNumber() string { return p.text("SerialNumber") }

// HardwareModel is the board, such as "D73AP".
func (p Properties) HardwareModel() string { return p.text("HWModel") }

// DeviceClass is the class, such as "iPhone" or "iPad".
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
	// Port is the service's port, at the address of the list.
	Port uint16
	// Entitlement is the entitlement that a program on the device needs to connect to
	// the service.
	Entitlement string
	// UsesRemoteXPC is what the entry states. It is wrong for some services; see
	// Transport.
	UsesRemoteXPC bool
	// Version is the ServiceVersion, or 0 if there is none.
	Version int64
	// Features are the features of a CoreDevice service, or nil if it does not list
	// any.
	Features []string
	// Properties are the entry's, as sent, or nil if there are none.
	Properties xpc.Dict
}

// Transport is the protocol that a service speaks first.
type Transport int

const (
	// Raw services speak their own protocol from the first byte on.
	Raw Transport = iota
	// RemoteXPC services speak XPC over HTTP/2, package remotexpc.
	RemoteXPC
	// Checkin services require an RSDCheckin before their own protocol.
	Checkin
)

// rawServices state that they use RemoteXPC, and do not.
var rawServices = map[string]bool{
	"com.apple.internal.dt.remote.debugproxy":     true, // GDB's remote protocol
	"com.apple.coredevice.fileservice.data":       true, // "rwb!FILE"
	"com.apple.coredevice.openstdiosocket":        true, // 16 bytes of a UUID, then a terminal
	"com.apple.instruments.dtservicehub":          true, // DTX; it states nothing
	"com.apple.dt.testmanagerd.remote":            true,
	"com.apple.dt.testmanagerd.remote.automation": true,
}

// Transport returns the protocol that the service speaks first. Lockdown over RSD
// speaks property lists, although early versions of iOS 17 state otherwise.
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

// HasFeature reports whether the service has a feature. It is true if the service lists
// no features.
func (s *Service) HasFeature(name string) bool {
	for _, f := range s.Features {
		if f == name {
			return true
		}
	}
	return len(s.Features) == 0
}

// decodePeer reads a handshake. It ignores entries without a valid port, as other hosts
// do.
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

// encode makes the entry of a service. The port is a string: go-ios accepts nothing
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

// hostHandshake returns the handshake of a host.
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

// Code is the reason for which a device refuses a check-in, as sent. The codes are
// lockdown's.
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

// The codes with which a check-in is known to fail.
const (
	ErrInvalidService    Code = "InvalidService"
	ErrPasswordProtected Code = "PasswordProtected" // locked, and no escrow bag was sent
	ErrServiceProhibited Code = "ServiceProhibited"
)

// ErrNotListed is the cause of an Error if the device's list does not have the service.
// It matches fs.ErrNotExist.
var ErrNotListed = link.Cause("service is not listed", fs.ErrNotExist)

// Error is the type of every error of the package.
type Error struct {
	// Op is what was tried: "dial", "handshake", "heartbeat", "open",
	// "checkin", "serve", "host identity".
	Op string
	// Service is the service concerned, or "" for the list.
	Service string
	// Code is the device's refusal, or "" if Err is the cause.
	Code Code
	// Detail is the ErrorDescription that may be sent with Code.
	Detail string
	// Err is the cause.
	Err error
}

// Error returns text such as `rsd: open "com.apple.afc.shim.remote": service is not
// listed`.
func (e *Error) Error() string {
	return link.Failure(link.Attempt("rsd", e.Op, e.Service), string(e.Code), e.Detail, e.Err)
}

// Unwrap returns the code and the cause, if they are set.
func (e *Error) Unwrap() []error { return link.Causes(e.Code, e.Err) }
