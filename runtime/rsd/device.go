package rsd

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// Device is remoted of the virtual device. It sends every host that connects the
// description of the phone and the list of its services. One Device serves any number
// of connections.
type Device struct {
	// Phone has all values of the description; it must be set.
	Phone *phone.Phone
	// Services returns the list and is called for each connection; it must be set.
	// Table makes a list as long as a real one.
	Services func() []Service
	// Hosts has the rules for several hosts. If it is nil, they do not disturb each
	// other, as before iOS 27.2.
	Hosts *Hosts
	// Fault makes the daemon misbehave. It is called before the list is sent and before
	// each heartbeat is answered, with the type of the message. It may wait. An error
	// ends the connection.
	Fault func(ctx context.Context, op string) error
	// Budget bounds the memory for what hosts send on all connections that share it;
	// nil means no bound.
	Budget *link.Budget
	// Logger logs nothing if it is nil.
	Logger *slog.Logger
}

// smallRequests returns the options of connections on which hosts send little. Anybody
// can open them.
func smallRequests(b *link.Budget, log *slog.Logger) remotexpc.Options {
	return remotexpc.Options{MaxMessage: maxAsked, Buffer: maxAsked, Budget: b, Logger: log}
}

// generation holds the differences between versions of iOS.
type generation struct {
	major    int
	protocol uint64
	flags    uint64
	minimum  string // of the host's MobileDevice
	// shimProperties reports whether entries of lockdown's services state that they do
	// not use RemoteXPC. If it is false, they state nothing.
	shimProperties bool
}

// generations are in ascending order. The last one that is not newer than the phone
// applies.
var generations = []generation{
	{major: 17, protocol: 3, flags: 0x0100000000000004, minimum: "1600"},
	{major: 18, protocol: 5, flags: 0x0100000000000006, minimum: "1742", shimProperties: true},
	{major: 26, protocol: 7, flags: 0x0100000000000006, minimum: "1742", shimProperties: true},
}

func generationOf(p *phone.Phone) generation {
	major, g := p.Identity.VersionNumber()/100, generations[0]
	for _, next := range generations {
		if next.major <= major {
			g = next
		}
	}
	return g
}

// Serve sends the list when the connection is established, and answers heartbeats until
// the host leaves or ctx ends. The caller closes c.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	x := &remotexpc.Device{Options: smallRequests(d.Budget, d.Logger), Handle: d.handle}
	if err := x.Serve(ctx, c); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Op: "serve", Err: err}
	}
	return nil
}

func (d *Device) fault(ctx context.Context, op string) error {
	if d.Fault == nil {
		return nil
	}
	return d.Fault(ctx, op)
}

func (d *Device) handle(ctx context.Context, c *remotexpc.Conn) error {
	var v *visit
	if d.Hosts != nil {
		ctx, v = d.Hosts.enter(ctx)
		defer v.leave()
	}
	if err := d.fault(ctx, typeHandshake); err != nil {
		return err
	}
	if err := c.Send(ctx, d.handshake()); err != nil {
		return err
	}
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			if c.Err() == nil && ctx.Err() == nil {
				continue // ignores one message that is malformed
			}
			return err
		}
		if err := d.answer(ctx, c, v, m); err != nil {
			return err
		}
	}
}

// answer handles a message of a host. v is nil if there are no rules for several hosts.
func (d *Device) answer(
	ctx context.Context, c *remotexpc.Conn, v *visit, m *remotexpc.Message,
) error {
	t, _ := m.Body.String(keyMessageType)
	switch {
	case t == typeHandshake && v != nil:
		id, _ := m.Body.UUID(keyUUID)
		if v.greet(id) {
			return c.Send(ctx, d.handshake())
		}
	case t == typeHeartbeat && m.WantsReply():
		if err := d.fault(ctx, typeHeartbeat); err != nil {
			return err
		}
		return c.Reply(ctx, m, m.Body)
	}
	return nil // this includes the host's handshake, which not all hosts send
}

// handshake returns the message with the list.
func (d *Device) handshake() xpc.Dict {
	list := slices.Clone(d.Services())
	slices.SortFunc(list, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	services := make(xpc.Dict, 0, len(list))
	for i := range list {
		services = append(services, xpc.Pair{Key: list[i].Name, Value: list[i].encode()})
	}
	return xpc.Dict{
		{Key: keyMessageType, Value: typeHandshake},
		{Key: keyProtocolVersion, Value: generationOf(d.Phone).protocol},
		{Key: keyProperties, Value: properties(d.Phone)},
		{Key: keyServices, Value: services},
		{Key: keyUUID, Value: bootUUID(d.Phone)},
	}
}

// bootUUID returns an identifier that is different for each boot.
func bootUUID(p *phone.Phone) xpc.UUID {
	sum := sha256.Sum256([]byte("rsd " + p.Identity.UDID + p.Clock.BootID()))
	id := xpc.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0F|0x40, id[8]&0x3F|0x80
	return id
}

// property makes a property from one of lockdown's values. convert, if it is not nil,
// converts the value.
type property struct {
	key, from string
	convert   func(any) any
}

func unsigned(v any) any {
	n, _ := plist.Int(v)
	return uint64(n)
}

func boolean(v any) any {
	if b, ok := v.(bool); ok {
		return b
	}
	n, _ := plist.Int(v)
	return n != 0
}

func lower(v any) any {
	s, _ := v.(string)
	return strings.ToLower(s)
}

var lockdownProperties = []property{
	{"BoardId", "BoardId", unsigned},
	{"BootSessionUUID", "BootSessionID", lower},
	{"BuildVersion", "BuildVersion", nil},
	{"CPUArchitecture", "CPUArchitecture", nil},
	{"ChipID", "ChipID", unsigned},
	{"DeviceClass", "DeviceClass", nil},
	{"DeviceColor", "DeviceColor", nil},
	{"DeviceEnclosureColor", "DeviceEnclosureColor", nil},
	{"EffectiveProductionStatusAp", "EffectiveProductionStatusAp", boolean},
	{"EffectiveSecurityModeAp", "EffectiveSecurityModeAp", boolean},
	{"EthernetMacAddress", "EthernetAddress", nil},
	{"HWModel", "HardwareModel", nil},
	{"HardwarePlatform", "HardwarePlatform", nil},
	{"HasSEP", "HasSEP", boolean},
	{"HumanReadableProductVersionString", "HumanReadableProductVersionString", nil},
	{"Image4Supported", "Image4Supported", boolean},
	{"ModelNumber", "ModelNumber", nil},
	{"OSVersion", "ProductVersion", nil},
	{"ProductName", "ProductName", nil},
	{"ProductType", "ProductType", nil},
	{"RegionCode", "RegionCode", nil},
	{"RegionInfo", "RegionInfo", nil},
	{"SerialNumber", "SerialNumber", nil},
	{"SupplementalBuildVersion", "BuildVersion", nil},
	{"ThinningProductType", "ProductType", nil},
	{"UniqueChipID", "UniqueChipID", unsigned},
	{"UniqueDeviceID", "UniqueDeviceID", nil},
}

// properties returns those of the phone, sorted by key.
func properties(p *phone.Phone) xpc.Dict {
	g := generationOf(p)
	d := xpc.Dict{
		{Key: "MobileDeviceMinimumVersion", Value: g.minimum},
		{Key: "RemoteXPCVersionFlags", Value: g.flags},
	}
	for key, v := range p.Identity.Production() {
		d = append(d, xpc.Pair{Key: key, Value: v})
	}
	for _, l := range lockdownProperties {
		v, ok := p.Values.Get("", l.from)
		if !ok {
			continue
		}
		if l.convert != nil {
			v = l.convert(v)
		}
		d = append(d, xpc.Pair{Key: l.key, Value: v})
	}
	slices.SortFunc(d, func(a, b xpc.Pair) int { return strings.Compare(a.Key, b.Key) })
	return d
}

// dtxMagic begins every DTX message.
const dtxMagic = "\x79\x5b\x3d\x1f"

// CheckinDevice is the device side of the check-in that precedes a lockdown service.
type CheckinDevice struct {
	// Service is the name in the list.
	Service string
	// Handler serves the connection after the check-in; it must be set.
	Handler service.Handler
	// Refuse decides who may use the service. It is called with the escrow bag that was
	// sent, or nil. A Code that it returns is sent to the host; any other error ends
	// the connection. If Refuse is nil, nobody is refused.
	Refuse func(ctx context.Context, escrow []byte) error
	// Logger logs nothing if it is nil.
	Logger *slog.Logger
}

// Serve performs the check-in and passes the connection to Handler. A host that begins
// with DTX has left the check-in out. It is served as well, because it is not known
// which devices require the check-in. The caller closes c.
func (d *CheckinDevice) Serve(ctx context.Context, c net.Conn) error {
	bound, cancel := context.WithTimeout(ctx, checkinTimeout)
	defer cancel()
	first := make([]byte, len(dtxMagic))
	release := link.GuardRead(bound, c)
	_, err := io.ReadFull(c, first)
	err = release(err)
	if err != nil {
		return d.ended(ctx, err)
	}
	replay := &replayed{Conn: c, head: first}
	if string(first) == dtxMagic {
		return d.Handler.Serve(ctx, replay)
	}
	refused, err := d.checkin(bound, replay)
	if err != nil {
		return d.ended(ctx, err)
	}
	if refused {
		return nil
	}
	return d.Handler.Serve(ctx, c)
}

// ended returns nil for a host that left, and the error otherwise.
func (d *CheckinDevice) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == io.EOF || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return &Error{Op: "checkin", Service: d.Service, Err: err}
}

func (d *CheckinDevice) checkin(ctx context.Context, c net.Conn) (refused bool, err error) {
	p := &link.PlistConn{Conn: c, Max: maxCheckin}
	request, err := p.RecvDict(ctx)
	if err != nil {
		return false, err
	}
	if name, _ := request.String("Request"); name != checkinRequest {
		return false, errors.New(
			"request is " + strconv.Quote(link.Clip(name)) + ", not " + checkinRequest,
		)
	}
	if err := p.Send(ctx, plist.Dict{"Request": checkinRequest}); err != nil {
		return false, err
	}
	answer := plist.Dict{"Request": checkinStart}
	if d.Refuse != nil {
		escrow, _ := request.Data("EscrowBag")
		if err := d.Refuse(ctx, escrow); err != nil {
			var code Code
			if !errors.As(err, &code) {
				return false, err
			}
			answer["Error"] = string(code)
			refused = true
		}
	}
	if d.Logger != nil {
		label, _ := request.String("Label")
		d.Logger.Debug("checkin", "layer", "rsd", "service", d.Service, "label", link.Clip(label),
			"refused", refused)
	}
	return refused, p.Send(ctx, answer)
}

// replayed is a connection whose first bytes have been read.
type replayed struct {
	net.Conn
	head []byte
}

// Read returns the first bytes again, and then those that follow.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// CloseWrite half-closes the connection.
func (r *replayed) CloseWrite() error { return link.CloseWrite(r.Conn) }
