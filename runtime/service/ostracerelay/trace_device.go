package ostracerelay

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// A tracev3 file is a sequence of chunks, little-endian and padded to 8 bytes:
//
//	tag u32 | sub tag u32 | size of the data u64 | data
//
// The first chunk is the header. A catalog and a chunk set follow for each group of
// entries. The catalog holds the UUIDs, processes and labels to which the entries refer
// by index. The chunk set holds firehose pages: entries of one process with the
// arguments of a format string. The format string is stored in the uuidtext file of the
// image.
const (
	tagHeader   = 0x1000
	tagCatalog  = 0x600B
	tagChunkSet = 0x600D
	tagFirehose = 0x6001
	subTag      = 0x11

	traceGroup   = 128  // entries of one catalog, whose offsets have 16 bits
	pageSize     = 4096 // size of a page of firehose entries with its 16-byte header
	maxTraceName = 127  // length of a subsystem or category
	maxTraceText = 3800 // length of a message whose entry fits into a page

	// Ticks have a frequency of 24 MHz, so each takes 125/3 nanoseconds.
	tickNumerator, tickDenominator = 125, 3
	maxTicks                       = 1 << 50 // a time since boot of more than a year is invalid
)

// formatString is the only format string. Its argument is the message.
const (
	formatString = "%{public}s\x00"
	formatOffset = 0x1000
)

// Flags of a firehose entry.
const (
	flagMainExecutable = 0x0002 // the format string is in the executable
	flagUUIDRelative   = 0x000A // the format string is in the image whose UUID follows
	flagSubsystem      = 0x0200
)

// traceImage is an executable or library that logs.
type traceImage struct {
	id   [16]byte
	path string
}

// trace builds the files of an archive from log entries.
type trace struct {
	phone   *phone.Phone
	entries []*log.Entry
	boot    time.Time // time of tick 0
	uuids   []traceImage
}

func newTrace(p *phone.Phone, entries []*log.Entry) *trace {
	t := &trace{phone: p, entries: entries, boot: p.Clock.Now()}
	known := map[[16]byte]bool{}
	add := func(id [16]byte, path string) {
		if !known[id] {
			known[id] = true
			t.uuids = append(t.uuids, traceImage{id, path})
		}
	}
	for _, e := range entries {
		begin := e.Time
		if e.MachTime < maxTicks {
			begin = begin.Add(-time.Duration(e.MachTime * tickNumerator / tickDenominator))
		}
		if begin.Before(t.boot) {
			t.boot = begin
		}
		add(e.ProcessUUID, e.ProcessPath)
		add(e.ImageUUID, e.ImagePath)
	}
	return t
}

func (t *trace) ticks(at time.Time) uint64 {
	return uint64(max(at.Sub(t.boot), 0)) * tickDenominator / tickNumerator
}

// bootID returns the BootSessionID as bytes.
func (t *trace) bootID() (id [16]byte) {
	b, err := hex.DecodeString(strings.ReplaceAll(t.phone.Clock.BootID(), "-", ""))
	if err == nil {
		copy(id[:], b)
	}
	return id
}

// text pads or truncates s to n bytes that end with at least one NUL.
func text(s string, n int) []byte {
	b := make([]byte, n)
	copy(b[:n-1], s)
	return b
}

func pad8(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendChunk appends one chunk with its padding.
func appendChunk(b []byte, tag, sub uint32, data []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, tag)
	b = binary.LittleEndian.AppendUint32(b, sub)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	return pad8(append(b, data...))
}

// trace returns the tracev3 file.
func (t *trace) trace() []byte {
	b := appendChunk(nil, tagHeader, subTag, t.header())
	for i := 0; i < len(t.entries); i += traceGroup {
		g := newTraceGroup(t, t.entries[i:min(i+traceGroup, len(t.entries))])
		b = appendChunk(b, tagCatalog, subTag, g.catalog())
		// "bv4-" begins an uncompressed block, "bv4$" marks the end.
		set := append([]byte("bv4-"),
			binary.LittleEndian.AppendUint32(nil, uint32(len(g.pages)))...)
		set = append(append(set, g.pages...), "bv4$"...)
		b = appendChunk(b, tagChunkSet, 1, set)
	}
	return b
}

// header returns the first chunk of the file. It holds the clock and four parts, each
// with its own tag and size: the time (0x6100), the system (0x6101), the boot (0x6102)
// and the time zone (0x6103).
func (t *trace) header() []byte {
	le := binary.LittleEndian
	start, at := uint64(0), t.boot
	if len(t.entries) > 0 {
		at = t.entries[0].Time
		start = t.ticks(at)
	}
	str := func(key string) string {
		v, _ := t.phone.Values.Get("", key)
		s, _ := v.(string)
		return s
	}
	b := le.AppendUint32(nil, tickNumerator)
	b = le.AppendUint32(b, tickDenominator)
	b = le.AppendUint64(b, start)
	b = le.AppendUint32(b, uint32(at.Unix()))
	b = le.AppendUint32(b, uint32(at.Nanosecond()/1000))
	b = append(b, make([]byte, 12)...) // minutes west of UTC, daylight saving, flags
	b = append(b, make([]byte, 4)...)
	b = le.AppendUint32(le.AppendUint32(b, 0x6100), 8)
	b = le.AppendUint64(b, start)
	b = le.AppendUint32(le.AppendUint32(b, 0x6101), 56)
	b = append(b, make([]byte, 8)...)
	b = append(append(b, text(str("BuildVersion"), 16)...), text(str("HardwareModel"), 32)...)
	b = le.AppendUint32(le.AppendUint32(b, 0x6102), 24)
	id := t.bootID()
	b = append(b, id[:]...)
	b = le.AppendUint32(b, t.logd())
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(le.AppendUint32(b, 0x6103), 48)
	return append(b, text("/var/db/timezone/zoneinfo/"+str("TimeZone"), 48)...)
}

func (t *trace) logd() uint32 {
	for _, p := range t.phone.Processes.List() {
		if p.Name == "logd" {
			return uint32(p.PID)
		}
	}
	return 0
}

// timesync returns the file that maps ticks to the wall clock. It has a record for the
// boot and one for a later time.
func (t *trace) timesync() []byte {
	le := binary.LittleEndian
	id := t.bootID()
	b := le.AppendUint16(nil, 0xBBB0)
	b = le.AppendUint16(b, 0x30)
	b = le.AppendUint32(b, 0)
	b = append(b, id[:]...)
	b = le.AppendUint32(b, tickNumerator)
	b = le.AppendUint32(b, tickDenominator)
	b = le.AppendUint64(b, uint64(t.boot.UnixNano()))
	b = append(b, make([]byte, 8)...) // minutes west of UTC, daylight saving
	b = append(b, "Ts \x00"...)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint64(b, uint64(t.boot.UnixNano()))
	return append(b, make([]byte, 8)...)
}

// uuidText returns the file with the format strings and the path of an image.
func uuidText(path string) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0x66778899)
	b = le.AppendUint32(le.AppendUint32(b, 2), 1) // version 2.1
	b = le.AppendUint32(b, 1)                     // one range of strings
	b = le.AppendUint32(b, formatOffset)
	b = le.AppendUint32(b, uint32(len(formatString)))
	return append(append(append(b, formatString...), path...), 0)
}

// info returns Info.plist.
func (t *trace) info(now time.Time) ([]byte, error) {
	ref := func(at time.Time) plist.Dict {
		return plist.Dict{
			"ContinuousTime": int64(t.ticks(at)), "UUID": t.phone.Clock.BootID(),
			"WallTime": at.UnixNano(),
		}
	}
	oldest := now
	if len(t.entries) > 0 {
		oldest = t.entries[0].Time
	}
	return plist.Encode(plist.Dict{
		"ArchiveIdentifier": t.phone.Clock.BootID(), "SourceIdentifier": t.phone.Clock.BootID(),
		"OSArchiveVersion": int64(5), "EndTimeRef": ref(now),
		"LiveMetadata":    plist.Dict{"OldestTimeRef": ref(oldest)},
		"PersistMetadata": plist.Dict{"OldestTimeRef": ref(oldest)},
	}, plist.XML)
}

// traceProcess is one process of a catalog.
type traceProcess struct {
	pid     int
	uuid    [16]byte
	entries []*log.Entry
	labels  map[[2]string]uint16
	order   [][2]string
}

// label returns the number of a subsystem and category. Numbers begin at 1.
func (p *traceProcess) label(e *log.Entry) uint16 {
	key := [2]string{cString(e.Subsystem, maxTraceName), cString(e.Category, maxTraceName)}
	if key == [2]string{} {
		return 0
	}
	n, ok := p.labels[key]
	if !ok {
		n = uint16(len(p.order) + 1)
		p.labels[key] = n
		p.order = append(p.order, key)
	}
	return n
}

// traceGroupOf holds the entries of one catalog.
type traceGroupOf struct {
	processes []*traceProcess
	pages     []byte
	first     uint64 // ticks
	last      uint64
}

func newTraceGroup(t *trace, entries []*log.Entry) *traceGroupOf {
	type key struct {
		pid  int
		uuid [16]byte
	}
	g := &traceGroupOf{first: t.ticks(entries[0].Time)}
	g.last = g.first
	known := map[key]*traceProcess{}
	for _, e := range entries {
		at := t.ticks(e.Time)
		g.first, g.last = min(g.first, at), max(g.last, at)
		k := key{e.PID, e.ProcessUUID}
		p := known[k]
		if p == nil {
			p = &traceProcess{pid: e.PID, uuid: e.ProcessUUID, labels: map[[2]string]uint16{}}
			known[k] = p
			g.processes = append(g.processes, p)
		}
		p.entries = append(p.entries, e)
	}
	for i, p := range g.processes {
		g.appendPages(t, uint32(i+1), p)
	}
	return g
}

// appendPages writes the firehose pages of one process.
func (g *traceGroupOf) appendPages(t *trace, number uint32, p *traceProcess) {
	var page []byte
	var base uint64
	flush := func() {
		if len(page) == 0 {
			return
		}
		le := binary.LittleEndian
		b := le.AppendUint64(nil, uint64(p.pid)+1) // is never 0
		b = le.AppendUint32(b, number)
		b = append(b, 0, 0, 0, 0) // time to live, collapsed
		b = le.AppendUint16(b, uint16(16+len(page)))
		b = le.AppendUint16(b, pageSize) // no private data
		b = append(b, 0, 0, 0, 0)        // persistent stream
		b = le.AppendUint64(b, base)
		g.pages = appendChunk(g.pages, tagFirehose, 0, append(b, page...))
		page = nil
	}
	for _, e := range p.entries {
		at := t.ticks(e.Time)
		rec := traceEntry(e, p.label(e))
		if len(page) > 0 &&
			(16+len(page)+24+len(rec)+8 > pageSize || at < base || at-base > 1<<47) {
			flush()
		}
		if len(page) == 0 {
			base = at
		}
		page = appendTraceEntry(page, e, at-base, rec)
	}
	flush()
}

// traceEntry returns the part of a firehose entry that follows its header.
func traceEntry(e *log.Entry, label uint16) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, e.ImageOffset)
	if e.ImageUUID != e.ProcessUUID {
		b = append(b, e.ImageUUID[:]...)
	}
	if label != 0 {
		b = le.AppendUint16(b, label)
	}
	msg := cString(e.Message, maxTraceText)
	b = append(b, 0, 1)    // one argument
	b = append(b, 0x22, 4) // a public string: offset and length
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, uint16(len(msg)+1))
	return append(append(b, msg...), 0)
}

func appendTraceEntry(b []byte, e *log.Entry, delta uint64, rec []byte) []byte {
	le := binary.LittleEndian
	flags := uint16(flagMainExecutable)
	if e.ImageUUID != e.ProcessUUID {
		flags = flagUUIDRelative
	}
	if e.Subsystem != "" || e.Category != "" {
		flags |= flagSubsystem
	}
	b = append(b, byte(KindLog), byte(entryOf(e).Level))
	b = le.AppendUint16(b, flags)
	b = le.AppendUint32(b, formatOffset)
	b = le.AppendUint64(b, e.ThreadID)
	b = le.AppendUint32(b, uint32(delta))
	b = le.AppendUint16(b, uint16(delta>>32))
	b = le.AppendUint16(b, uint16(len(rec)))
	return pad8(append(b, rec...))
}

// nameTable holds the strings of a catalog without duplicates.
type nameTable struct {
	data    []byte
	offsets map[string]uint16
	order   []uint16
}

func (n *nameTable) offset(s string) uint16 {
	off, ok := n.offsets[s]
	if !ok {
		off = uint16(len(n.data))
		n.offsets[s] = off
		n.order = append(n.order, off)
		n.data = append(append(n.data, s...), 0)
	}
	return off
}

// appendProcess appends the entry of process i of a catalog.
func appendProcess(b []byte, i int, p *traceProcess, names *nameTable) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, uint16(i))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, uint16(i)) // index of its UUID
	b = le.AppendUint16(b, 0xFFFF)    // no shared cache
	b = le.AppendUint64(b, uint64(p.pid)+1)
	b = le.AppendUint32(b, uint32(i+1))
	b = le.AppendUint32(b, uint32(p.pid))
	b = append(b, make([]byte, 16)...) // user, -, no further images, -
	b = le.AppendUint32(b, uint32(len(p.order)))
	b = le.AppendUint32(b, 0)
	for k, l := range p.order {
		b = le.AppendUint16(b, uint16(k+1))
		b = le.AppendUint16(b, names.offset(l[0]))
		b = le.AppendUint16(b, names.offset(l[1]))
	}
	return pad8(b)
}

// catalog returns the catalog of the group.
func (g *traceGroupOf) catalog() []byte {
	le := binary.LittleEndian
	var uuids, procs []byte
	names := &nameTable{offsets: map[string]uint16{}}
	for i, p := range g.processes {
		uuids = append(uuids, p.uuid[:]...)
		procs = appendProcess(procs, i, p, names)
	}
	text := pad8(names.data)
	b := le.AppendUint16(nil, uint16(len(uuids)))
	b = le.AppendUint16(b, uint16(len(uuids)+len(text)))
	b = le.AppendUint16(b, uint16(len(g.processes)))
	b = le.AppendUint16(b, uint16(len(uuids)+len(text)+len(procs)))
	b = le.AppendUint16(b, 1) // one chunk set
	b = append(b, make([]byte, 6)...)
	b = le.AppendUint64(b, g.first)
	b = append(append(append(b, uuids...), text...), procs...)
	b = le.AppendUint64(le.AppendUint64(b, g.first), g.last)
	b = le.AppendUint32(b, uint32(len(g.pages)))
	b = le.AppendUint32(b, 0x100) // LZ4 blocks
	b = le.AppendUint32(b, uint32(len(g.processes)))
	for i := range g.processes {
		b = le.AppendUint16(b, uint16(i))
	}
	b = le.AppendUint32(b, uint32(len(names.order)))
	for _, off := range names.order {
		b = le.AppendUint16(b, off)
	}
	return pad8(b)
}
