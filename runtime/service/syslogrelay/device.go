package syslogrelay

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// batch is the number of entries in one write.
	batch = 256
	// flushAt is the size from which an incomplete batch is written.
	flushAt = 48 << 10
)

// Device is the device side for a virtual device. One Device serves any number of
// connections.
type Device struct {
	service.Env
	dropped atomic.Uint64
}

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Dropped returns the number of entries that hosts missed because they read too slowly.
// It counts the connections that have ended.
func (d *Device) Dropped() uint64 { return d.dropped.Load() }

// Serve writes the log of the phone to c until the peer disconnects or ctx ends. If the
// peer reads too slowly, it loses entries. The phone never waits for the peer.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	watch := d.Phone.Log.Watch(log.WatchOptions{PID: -1, Info: true, Debug: true})
	inner, stop := context.WithCancel(ctx)
	release := link.Guard(inner, c)
	gone := make(chan struct{})
	go func() {
		// The host sends nothing. If reading ends, the host has disconnected.
		defer close(gone)
		defer stop()
		_, _ = io.Copy(io.Discard, c)
	}()
	err := d.stream(inner, c, watch)
	stop()
	<-gone
	_ = release(nil)
	watch.Close()
	lost := watch.Dropped()
	d.dropped.Add(lost)
	level := slog.LevelDebug
	if lost > 0 {
		level = slog.LevelWarn
	}
	d.Log("syslogrelay").Log(ctx, level, "log ended", "dropped", lost, "cause", err)
	return ctx.Err()
}

func (d *Device) stream(ctx context.Context, w io.Writer, watch *log.Watch) error {
	entries := make([]*log.Entry, batch)
	var buf []byte
	for {
		n, err := watch.NextBatch(ctx, entries)
		if err != nil {
			return err
		}
		zone, host := d.zone(), hostName(d.Phone.Values.Name())
		for i, e := range entries[:n] {
			buf = appendEntry(buf, e, zone, host)
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

func appendEntry(b []byte, e *log.Entry, zone *time.Location, host string) []byte {
	process, image := path.Base(e.ProcessPath), path.Base(e.ImagePath)
	switch {
	case e.PID == 0:
		process, image = "kernel", "" // idevicesyslog expects exactly "kernel[0]"
	case image == process || e.ImagePath == "":
		image = ""
	}
	return appendRecord(b, e.Time.In(zone), host, process, image, e.PID, Level(e.Level.String()),
		e.Message)
}

// zone returns the time zone of the phone. The text log has local times.
func (d *Device) zone() *time.Location {
	v, _ := d.Phone.Values.Get("", "TimeZoneOffsetFromUTC")
	switch offset := v.(type) {
	case float64:
		return time.FixedZone("", int(offset))
	case int64:
		return time.FixedZone("", int(offset))
	}
	return time.UTC
}

// hostName returns the device name as the log writes it. It must not contain spaces,
// because hosts take the next space for the end of the column.
func hostName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '\'' || r == '’' || r == '"':
			return -1
		case r <= ' ' || r == 0xA0:
			return '-'
		}
		return r
	}, name)
	if name == "" {
		return "iPhone"
	}
	return name
}
