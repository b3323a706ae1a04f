package usbmux

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// MuxerOptions configures a Muxer.
type MuxerOptions struct {
	Records RecordStore  // nil = in memory
	BUID    string       // identity of the host; "" = a random one
	Logger  *slog.Logger // nil = silent
}

// RecordStore keeps pair records for a Muxer. An id that does not exist gives
// an error in which errors.Is finds fs.ErrNotExist.
type RecordStore interface {
	Read(id string) ([]byte, error)
	Write(id string, b []byte) error
	Delete(id string) error
}

// Attachment is a device that is plugged into a Muxer.
type Attachment struct {
	UDID        string
	Network     bool       // reached over Wi-Fi
	Address     netip.Addr // where clients dial a Network device; invalid = 127.0.0.1
	ProductID   uint16     // 0 = 0x12A8, an iPhone
	Speed       uint64     // bits a second; 0 = 480 Mbit/s
	ServiceName string     // Bonjour name of a Network device

	// Open finds what listens on a port; an error makes the Muxer refuse the
	// connection. The function it returns is given the client's own connection
	// once the client was told of the success, serves it until the client
	// leaves, and need not close it. Its context ends with the attachment. It
	// must not wait for Detach of its own device, which waits for it. When the
	// client leaves before it can be told, the function is called all the same,
	// with a closed connection, so that it may free what Open prepared.
	Open func(port uint16) (func(ctx context.Context, c net.Conn), error)
}

const (
	productIPhone = 0x12A8
	speedHigh     = 480_000_000
)

// Muxer answers as usbmuxd does, for devices that are functions instead of
// hardware. Any number of listeners and connections may share one.
type Muxer struct {
	records RecordStore
	buid    string
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // every connection and accept loop

	mu          sync.Mutex
	closed      bool
	lastDevice  uint32 // ids are never used twice
	lastSession int
	devices     map[uint32]*plugged
	listening   map[*session]struct{}
}

// plugged is an Attachment with its connections.
type plugged struct {
	Attachment
	entry  Entry
	ctx    context.Context
	cancel context.CancelFunc
	pipes  sync.WaitGroup
}

// NewMuxer returns a Muxer without devices.
func NewMuxer(o MuxerOptions) *Muxer {
	m := &Muxer{
		records: o.Records, buid: o.BUID, log: logger(o.Logger),
		devices: map[uint32]*plugged{}, listening: map[*session]struct{}{},
	}
	if m.records == nil {
		m.records = &memoryRecords{m: map[string][]byte{}}
	}
	if m.buid == "" {
		m.buid = link.UUIDText(nil)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Attach plugs a device in, tells the listeners and returns its id. A Muxer
// that is closed returns 0.
func (m *Muxer) Attach(a Attachment) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0
	}
	m.lastDevice++
	d := &plugged{Attachment: a, entry: newEntry(a, m.lastDevice)}
	d.ctx, d.cancel = context.WithCancel(m.ctx)
	m.devices[m.lastDevice] = d
	m.broadcast(Event{Attached, d.entry})
	m.log.Debug("attached", "udid", a.UDID, "device", m.lastDevice)
	return m.lastDevice
}

// newEntry makes the properties that clients see; each key has a client that
// fails without it.
func newEntry(a Attachment, id uint32) Entry {
	e := Entry{
		DeviceID: id, UDID: a.UDID, ConnectionType: USB, ProductID: a.ProductID,
		ConnectionSpeed: a.Speed,
	}
	p := plist.Dict{"DeviceID": int64(id), "SerialNumber": a.UDID}
	if a.Network {
		e.ConnectionType, e.Address, e.ServiceName = Network, a.Address, a.ServiceName
		if !e.Address.IsValid() {
			e.Address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		scope := interfaceIndex(e.Address.Zone())
		p["EscapedFullServiceName"] = a.ServiceName
		p["InterfaceIndex"] = int64(scope)
		p["NetworkAddress"] = encodeSockaddr(e.Address, scope, runtime.GOOS)
	} else {
		if e.ProductID == 0 {
			e.ProductID = productIPhone
		}
		if e.ConnectionSpeed == 0 {
			e.ConnectionSpeed = speedHigh
		}
		e.LocationID = 1<<16 | id&0xFFFF // bus and place on it
		p["ConnectionSpeed"] = int64(e.ConnectionSpeed)
		p["LocationID"] = int64(e.LocationID)
		p["ProductID"] = int64(e.ProductID)
	}
	p["ConnectionType"] = e.ConnectionType
	e.Properties = p
	return e
}

func interfaceIndex(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// Detach unplugs a device: its connections end, listeners are told, and what
// served the connections has returned when Detach does. An id that is not
// plugged in is not an error.
func (m *Muxer) Detach(id uint32) {
	m.mu.Lock()
	d, ok := m.devices[id]
	if ok {
		delete(m.devices, id)
		m.broadcast(Event{Detached, d.entry})
	}
	m.mu.Unlock()
	if ok {
		d.cancel()
		d.pipes.Wait()
		m.log.Debug("detached", "udid", d.UDID, "device", id)
	}
}

// broadcast queues an event for every listener. It is called under the lock,
// so all of them see one order, and never waits for any of them.
func (m *Muxer) broadcast(ev Event) {
	var encoded [2][]byte // by dialect
	for s := range m.listening {
		if encoded[s.version] == nil {
			encoded[s.version] = mustEncode(s.version, ev)
		}
		s.out.push(encoded[s.version])
	}
}

func mustEncode(version uint32, ev Event) []byte {
	f, err := eventFrame(version, ev)
	if err != nil {
		panic(err) // the Muxer made every value in it
	}
	return appendFrame(nil, f)
}

// present returns the devices in the order in which they were attached.
func (m *Muxer) present() []*plugged {
	ids := slices.Sorted(maps.Keys(m.devices))
	list := make([]*plugged, len(ids))
	for i, id := range ids {
		list[i] = m.devices[id]
	}
	return list
}

// acquire finds a device for a new connection, which Detach then waits for.
func (m *Muxer) acquire(id uint32) (*plugged, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[id]
	if ok {
		d.pipes.Add(1)
	}
	return d, ok
}

// paired tells the listeners of a saved record that belongs to a device.
func (m *Muxer) paired(id uint32, record string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, ok := m.devices[id]; ok && d.UDID == record {
		m.broadcast(Event{Paired, d.entry})
	}
}

// Close ends everything the Muxer serves and waits for it. The listeners given
// to Serve are closed as well.
func (m *Muxer) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
	return nil
}

// maxRecordBytes bounds the pair records that a Muxer keeps in memory, with their ids.
// One has about 10 KiB.
const maxRecordBytes = 16 << 20

var errRecordsFull = errors.New("no room for another pair record")

// memoryRecords is the RecordStore of a Muxer that was given none.
type memoryRecords struct {
	mu   sync.Mutex
	m    map[string][]byte
	size int
}

func (r *memoryRecords) Read(id string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.m[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(b), nil
}

func (r *memoryRecords) Write(id string, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := r.size + len(id) + len(b)
	if old, ok := r.m[id]; ok {
		size -= len(id) + len(old)
	}
	if size > maxRecordBytes {
		return errRecordsFull
	}
	r.m[id], r.size = slices.Clone(b), size
	return nil
}

func (r *memoryRecords) Delete(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.m[id]
	if !ok {
		return fs.ErrNotExist
	}
	r.size -= len(id) + len(old)
	delete(r.m, id)
	return nil
}
