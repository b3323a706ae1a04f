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
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// MuxerOptions configures a Muxer.
type MuxerOptions struct {
	Records RecordStore  // nil means in memory
	BUID    string       // identity of the host; "" means a random one
	Logger  *slog.Logger // nil means none

	// MaxClients is how many connections Serve has at a time. Further ones wait. 0
	// means no limit.
	MaxClients int
	// Idle is how long a client may take for a request. It does not apply to clients that
	// listen or are connected to a device. 0 means no limit.
	Idle time.Duration
}

// RecordStore stores pair records for a Muxer. The error for an id that does not exist
// matches fs.ErrNotExist.
type RecordStore interface {
	Read(id string) ([]byte, error)
	Write(id string, b []byte) error
	Delete(id string) error
}

// Attachment is a device that is attached to a Muxer.
type Attachment struct {
	UDID        string
	Network     bool       // reached over Wi-Fi
	Address     netip.Addr // that clients dial for a Network device; invalid means 127.0.0.1
	ProductID   uint16     // 0 means 0x12A8, an iPhone
	Speed       uint64     // bits per second; 0 means 480 Mbit/s
	ServiceName string     // Bonjour name of a Network device

	// Open returns the function that serves a port. If it returns an error, the Muxer
	// refuses the connection. The function is called with the client's connection after
	// the client has been told of the success. It serves the client until the client
	// leaves, and need not close the connection. Its context ends when the device is
	// detached. It must not wait for Detach of its own device, which waits for it. If
	// the client leaves before it can be told, the function is called with a closed
	// connection, so that it can free what Open prepared.
	Open func(port uint16) (func(ctx context.Context, c net.Conn), error)
	// Dial is used instead of Open for a device that is somewhere else. It connects to a
	// port, and the Muxer passes the bytes on. Its context ends after connectTimeout or
	// when the device is detached.
	Dial func(ctx context.Context, port uint16) (net.Conn, error)
}

const (
	productIPhone = 0x12A8
	speedHigh     = 480_000_000
)

// Muxer answers as usbmuxd does. Its devices are functions instead of hardware. Any
// number of listeners and connections may share one Muxer.
type Muxer struct {
	records RecordStore
	buid    string
	log     *slog.Logger
	idle    time.Duration
	clients chan struct{}   // has a token for each connection of Serve; nil means no limit
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // every connection and accept loop

	mu          sync.Mutex
	closed      bool
	lastDevice  uint32 // ids are not used again
	lastSession int
	devices     map[uint32]*plugged
	listening   map[*session]struct{}
}

// plugged is an attached device with its connections.
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
		records: o.Records, buid: o.BUID, log: logger(o.Logger), idle: o.Idle,
		devices: map[uint32]*plugged{}, listening: map[*session]struct{}{},
	}
	if m.records == nil {
		m.records = &memoryRecords{m: map[string][]byte{}}
	}
	if m.buid == "" {
		m.buid = link.UUIDText(nil)
	}
	if o.MaxClients > 0 {
		m.clients = make(chan struct{}, o.MaxClients)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Attach attaches a device, reports it to the listeners and returns its id. It returns
// 0 if the Muxer is closed.
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

// newEntry returns the properties that clients see. Each key is here because some
// client fails without it.
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
		e.LocationID = 1<<16 | id&0xFFFF // bus number and position on the bus
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

// Detach detaches a device. It closes the device's connections, reports the change to
// the listeners and waits until the functions that serve the connections have returned.
// It is not an error if the id is not attached.
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

// broadcast queues an event for every listener. The caller holds the lock, so that all
// listeners get the events in the same order. broadcast does not wait for a listener.
func (m *Muxer) broadcast(ev Event) {
	var encoded [2][]byte // index is the version of the dialect
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
		panic(err) // cannot happen: the Muxer made every value in it
	}
	return appendFrame(nil, f)
}

// present returns the devices in the order of their attachment.
func (m *Muxer) present() []*plugged {
	ids := slices.Sorted(maps.Keys(m.devices))
	list := make([]*plugged, len(ids))
	for i, id := range ids {
		list[i] = m.devices[id]
	}
	return list
}

// acquire returns a device for a new connection. Detach waits until the connection is
// released.
func (m *Muxer) acquire(id uint32) (*plugged, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[id]
	if ok {
		d.pipes.Add(1)
	}
	return d, ok
}

// paired reports a saved record to the listeners, if it belongs to a device that is
// attached.
func (m *Muxer) paired(id uint32, record string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, ok := m.devices[id]; ok && d.UDID == record {
		m.broadcast(Event{Paired, d.entry})
	}
}

// Close ends everything that the Muxer serves and waits for it. It also closes the
// listeners that were given to Serve.
func (m *Muxer) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
	return nil
}

// maxRecordBytes bounds the pair records that a Muxer keeps in memory, and their ids. A
// record has about 10 KiB.
const maxRecordBytes = 16 << 20

var errRecordsFull = errors.New("no room for another pair record")

// memoryRecords is the RecordStore of a Muxer without one.
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
