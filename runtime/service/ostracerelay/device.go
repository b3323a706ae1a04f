package ostracerelay

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// batch is the number of entries in one write.
	batch = 256
	// flushAt is the size from which an incomplete batch is written.
	flushAt = 48 << 10
	// requestTimeout is how long the device waits for the request of the host.
	requestTimeout = 60 * time.Second
)

// statusFailed is the Status of a reply to a request that cannot be served.
const statusFailed = "RequestFailed"

// Device is the device side for a virtual device. One Device serves any number of
// connections.
type Device struct {
	service.Env
	dropped atomic.Uint64
}

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Dropped returns the number of records that hosts missed because they read too slowly.
// It counts the streams that have ended.
func (d *Device) Dropped() uint64 { return d.dropped.Load() }

// Serve answers the only request of a connection. If the request starts a stream, Serve
// runs until the peer disconnects or ctx ends.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	p := &link.PlistConn{Conn: c, Max: MaxRequest}
	first, cancel := context.WithTimeout(ctx, requestTimeout)
	req, err := p.RecvDict(first)
	cancel()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return errs.New("serve", "", err)
	}
	switch name, _ := req.String("Request"); name {
	case "PidList":
		release := link.GuardWrite(ctx, c)
		return release(d.pidList(c))
	case "StartActivity":
		return d.activity(ctx, c, req)
	case "CreateArchive":
		release := link.GuardWrite(ctx, c)
		return release(d.archive(c, req))
	default:
		release := link.GuardWrite(ctx, c)
		_ = release(reply(c, plist.Dict{"Status": statusFailed}))
		return errs.New("serve", "", fmt.Errorf("%w: request %q", ErrProtocol, name))
	}
}

// reply sends a reply, message type 1. The reply must be a binary property list, see
// the package comment.
func reply(w io.Writer, d plist.Dict) error {
	body, err := plist.Encode(d, plist.Binary)
	if err != nil {
		return err
	}
	b := append(make([]byte, 0, 5+len(body)), typeReply)
	_, err = w.Write(append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...))
	return err
}

func (d *Device) pidList(w io.Writer) error {
	payload := plist.Dict{}
	for _, p := range d.Phone.Processes.List() {
		payload[strconv.Itoa(p.PID)] = plist.Dict{"ProcessName": p.Name}
	}
	return reply(w, plist.Dict{"Status": statusOK, "Payload": payload})
}

// watchOptions decodes a StartActivity request. The result records is false if the
// filter excludes log messages, the only kind of record that a phone has.
func watchOptions(req plist.Dict) (o log.WatchOptions, records bool, err error) {
	o.PID = -1
	if v, ok := req["Pid"]; ok {
		o.PID, err = pidOf(v)
		if err != nil {
			return o, false, err
		}
	}
	filter, flags := int64(FilterAll), int64(0)
	for _, f := range []struct {
		key string
		to  *int64
	}{{"MessageFilter", &filter}, {"StreamFlags", &flags}} {
		v, ok := req[f.key]
		if !ok {
			continue
		}
		*f.to, ok = plist.Int(v)
		if !ok {
			return o, false, fmt.Errorf("%w: %s is a %s", ErrProtocol, f.key, plist.TypeName(v))
		}
	}
	o.Debug = flags&FlagDebug != 0
	o.Info = o.Debug
	return o, filter&FilterLog != 0, nil
}

// pidOf returns the process to follow. Clients send -1, 0xFFFFFFFF (libimobiledevice)
// or 2^64-1 for all processes.
func pidOf(v any) (int, error) {
	if u, ok := v.(uint64); ok && u == math.MaxUint64 {
		return -1, nil
	}
	n, ok := plist.Int(v)
	switch {
	case ok && (n == -1 || n == math.MaxUint32):
		return -1, nil
	case !ok || n < 0 || n > math.MaxInt32:
		return 0, fmt.Errorf("%w: Pid %v", ErrProtocol, v)
	}
	return int(n), nil
}

// activity streams the log. If the host reads too slowly, it loses records. The phone
// never waits for the host.
func (d *Device) activity(ctx context.Context, c net.Conn, req plist.Dict) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	release := link.Guard(inner, c)
	defer func() { _ = release(nil) }()
	o, records, err := watchOptions(req)
	if err != nil {
		_ = reply(c, plist.Dict{"Status": statusFailed})
		return errs.New("serve", "", err)
	}
	var watch *log.Watch
	if records {
		// The watch starts before the reply, so that the host sees everything that is
		// logged after the reply.
		watch = d.Phone.Log.Watch(o)
	}
	gone := make(chan struct{})
	go func() {
		// The host sends nothing more. If reading ends, the host has disconnected.
		defer close(gone)
		defer stop()
		_, _ = io.Copy(io.Discard, c)
	}()
	err = reply(c, plist.Dict{"Status": statusOK})
	if err == nil {
		err = stream(inner, c, watch)
	}
	stop()
	<-gone
	var lost uint64
	if watch != nil {
		watch.Close()
		lost = watch.Dropped()
		d.dropped.Add(lost)
	}
	level := slog.LevelDebug
	if lost > 0 {
		level = slog.LevelWarn
	}
	d.Log("ostracerelay").Log(ctx, level, "stream ended", "dropped", lost, "cause", err)
	return ctx.Err()
}

// stream writes the records that the watch delivers. One write holds many whole
// records.
func stream(ctx context.Context, w io.Writer, watch *log.Watch) error {
	if watch == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	entries := make([]*log.Entry, batch)
	var buf []byte
	var e Entry
	for {
		n, err := watch.NextBatch(ctx, entries)
		if err != nil {
			return err
		}
		for i, le := range entries[:n] {
			e = entryOf(le)
			buf = appendRecord(buf, &e)
			if i+1 < n && len(buf) < flushAt {
				continue
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		clear(entries[:n])
	}
}

func entryOf(e *log.Entry) Entry {
	level := Level(e.Level)
	switch level {
	case Default, Info, Debug, Err, Fault:
	default:
		level = Default // idevice ends the stream at any other level
	}
	return Entry{
		Time: e.Time, PID: e.PID, ProcessPath: e.ProcessPath, ImagePath: e.ImagePath,
		Message: e.Message, Subsystem: e.Subsystem, Category: e.Category,
		Level: level, Kind: KindLog, ProcessUUID: e.ProcessUUID, ImageUUID: e.ImageUUID,
		ImageOffset: e.ImageOffset, ThreadID: e.ThreadID, ActivityID: e.ActivityID,
		MachTime: e.MachTime,
	}
}
