package usbmux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// Connection types of an Entry.
const (
	USB     = "USB"
	Network = "Network"
)

// Entry is a device as a multiplexer lists it. A device that can be reached by cable
// and by Wi-Fi has two entries with the same UDID.
type Entry struct {
	DeviceID uint32
	// UDID is the SerialNumber property. It is opaque; for a device on Wi-Fi only, it
	// may be a MAC address.
	UDID            string
	ConnectionType  string // USB or Network
	ProductID       uint16
	ConnectionSpeed uint64 // bits per second
	LocationID      uint32
	Address         netip.Addr // of a Network entry; invalid if none was sent
	ServiceName     string     // Bonjour name of a Network entry
	Properties      plist.Dict // all properties as sent, including those without a field
}

// EventKind is the kind of an Event.
type EventKind int

// The events of a multiplexer.
const (
	Attached EventKind = iota + 1
	Detached
	Paired // a pair record of a connected device was saved
)

// String returns the protocol's name of the kind.
func (k EventKind) String() string {
	switch k {
	case Attached:
		return "Attached"
	case Detached:
		return "Detached"
	case Paired:
		return "Paired"
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}

// Event reports a change. Detached and Paired are sent with a device id only. Entry
// holds what was known of that device.
type Event struct {
	Kind  EventKind
	Entry Entry
}

// decodeEntry reads an Attached dictionary.
func decodeEntry(d plist.Dict) (Entry, error) {
	p, ok := d.Dict("Properties")
	if !ok {
		return Entry{}, link.Malformed("device without properties")
	}
	id, ok := deviceID(d)
	if !ok {
		id, ok = deviceID(p)
	}
	if !ok {
		return Entry{}, link.Malformed("device without an id")
	}
	e := Entry{DeviceID: id, Properties: p}
	e.UDID, _ = p.String("SerialNumber")
	if e.UDID == "" {
		return Entry{}, errNoSerial
	}
	e.ConnectionType, _ = p.String("ConnectionType")
	e.ServiceName, _ = p.String("EscapedFullServiceName")
	if n, ok := p.Int("ProductID"); ok {
		e.ProductID = uint16(n)
	}
	if n, ok := p.Uint("ConnectionSpeed"); ok {
		e.ConnectionSpeed = n
	}
	if n, ok := p.Int("LocationID"); ok {
		e.LocationID = uint32(n) // some daemons send a signed number
	}
	if b, ok := p.Data("NetworkAddress"); ok {
		// An address of unknown layout does not exclude the device, because Connect
		// goes through the multiplexer.
		e.Address, _ = decodeSockaddr(b)
	}
	return e, nil
}

// errNoSerial is the cause of an error about an entry without a serial number. All
// other requests need it.
var errNoSerial = link.Malformed("device without a serial number")

func deviceID(d plist.Dict) (uint32, bool) {
	n, ok := d.Int("DeviceID")
	return uint32(n), ok && n > 0 && n <= math.MaxUint32
}

// encodeEntry returns the Attached dictionary of e. It has the id twice: libusbmuxd
// reads it from the properties, all other clients read it from the dictionary itself.
func encodeEntry(e Entry) plist.Dict {
	return plist.Dict{
		"MessageType": "Attached", "DeviceID": int64(e.DeviceID), "Properties": e.Properties,
	}
}

// decodeEvent decodes an event of either dialect. known is false for messages that are
// not an event of this package. Daemons newer than this code may send some.
func decodeEvent(f frame) (ev Event, known bool, err error) {
	if f.message != msgPlist {
		return decodeBinaryEvent(f)
	}
	d, err := plist.DecodeDict(f.body)
	if err != nil {
		return Event{}, false, err
	}
	name, _ := d.String("MessageType")
	switch name {
	case "Attached":
		e, err := decodeEntry(d)
		return Event{Attached, e}, err == nil, err
	case "Detached":
		ev.Kind = Detached
	case "Paired":
		ev.Kind = Paired
	default:
		return Event{}, false, nil
	}
	id, ok := deviceID(d)
	if !ok {
		return Event{}, false, link.Malformed(name + " event without a device id")
	}
	ev.Entry.DeviceID = id
	return ev, true, nil
}

func decodeBinaryEvent(f frame) (Event, bool, error) {
	var ev Event
	switch f.message {
	case msgDeviceAdd:
		if len(f.body) < deviceAddSize {
			return Event{}, false, errShort
		}
		ev.Kind = Attached
		serial, _, _ := bytes.Cut(f.body[6:262], []byte{0})
		if len(serial) == 0 {
			return Event{}, false, errNoSerial
		}
		ev.Entry = Entry{
			UDID: string(serial), ConnectionType: USB,
			ProductID:  binary.LittleEndian.Uint16(f.body[4:]),
			LocationID: binary.LittleEndian.Uint32(f.body[264:]),
		}
	case msgDeviceRemove:
		ev.Kind = Detached
	case msgDevicePaired:
		ev.Kind = Paired
	default:
		return Event{}, false, nil
	}
	if len(f.body) < 4 {
		return Event{}, false, errShort
	}
	ev.Entry.DeviceID = binary.LittleEndian.Uint32(f.body)
	return ev, true, nil
}

// appendDeviceAdd appends the binary form of an Attached event.
func appendDeviceAdd(b []byte, e Entry) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.DeviceID)
	b = binary.LittleEndian.AppendUint16(b, e.ProductID)
	var serial [256]byte
	copy(serial[:255], e.UDID)
	b = append(b, serial[:]...)
	b = append(b, 0, 0)
	return binary.LittleEndian.AppendUint32(b, e.LocationID)
}

// eventFrame encodes an event in the dialect of a connection.
func eventFrame(version uint32, ev Event) (frame, error) {
	if version == versionPlist {
		if ev.Kind == Attached {
			return plistFrame(0, encodeEntry(ev.Entry))
		}
		return plistFrame(0,
			plist.Dict{"MessageType": ev.Kind.String(), "DeviceID": int64(ev.Entry.DeviceID)})
	}
	switch ev.Kind {
	case Attached:
		return frame{message: msgDeviceAdd, body: appendDeviceAdd(nil, ev.Entry)}, nil
	case Detached:
		return frame{
			message: msgDeviceRemove,
			body:    binary.LittleEndian.AppendUint32(nil, ev.Entry.DeviceID),
		}, nil
	}
	return frame{
		message: msgDevicePaired, body: binary.LittleEndian.AppendUint32(nil, ev.Entry.DeviceID),
	}, nil
}

// sockaddrSize is the size of a NetworkAddress: a sockaddr_storage.
const sockaddrSize = 128

// Address families. Only the number of IPv4 is the same on all systems.
const (
	familyIPv4        = 2
	familyIPv6Linux   = 10
	familyIPv6Windows = 23
	familyIPv6BSD     = 30
)

// encodeSockaddr encodes a NetworkAddress in the layout of goos. Clients cast it to the
// socket address of the system that they run on.
//
//	BSD      u8 size, u8 family | u16 port BE | IPv4, or u32 flow | IPv6 | u32 scope
//	others   u16 family LE      | the same
//
// The first byte is never 0, which libusbmuxd takes for an empty address.
func encodeSockaddr(a netip.Addr, scope uint32, goos string) []byte {
	b := make([]byte, sockaddrSize)
	a4 := a.Unmap()
	bsd := goos == "darwin" || goos == "ios" || goos == "freebsd"
	switch {
	case a4.Is4() && bsd:
		b[0], b[1] = 16, familyIPv4
	case a4.Is4():
		b[0] = familyIPv4
	case bsd:
		b[0], b[1] = 28, familyIPv6BSD
	case goos == "windows":
		b[0] = familyIPv6Windows
	default:
		b[0] = familyIPv6Linux
	}
	if a4.Is4() {
		ip := a4.As4()
		copy(b[4:], ip[:])
		return b
	}
	ip := a.As16()
	copy(b[8:], ip[:])
	binary.LittleEndian.PutUint32(b[24:], scope)
	return b
}

// decodeSockaddr decodes a NetworkAddress of any system. A scope becomes the numeric
// zone of the address.
func decodeSockaddr(b []byte) (netip.Addr, error) {
	if len(b) < 8 {
		return netip.Addr{}, errShort
	}
	family := uint16(b[1])
	isBSD := (b[0] == 16 || b[0] == 28) && (family == familyIPv4 || family == familyIPv6BSD)
	if !isBSD {
		family = binary.LittleEndian.Uint16(b)
	}
	switch family {
	case familyIPv4:
		return netip.AddrFrom4([4]byte(b[4:8])), nil
	case familyIPv6Linux, familyIPv6Windows, familyIPv6BSD:
		if len(b) < 28 {
			return netip.Addr{}, errShort
		}
		a := netip.AddrFrom16([16]byte(b[8:24]))
		scope := binary.LittleEndian.Uint32(b[24:])
		if scope != 0 && !a.Is4In6() {
			a = a.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("address family %d is not known", family)
}
