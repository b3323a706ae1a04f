package virtual_test

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

const (
	scaleDevices = 64
	scaleEntries = 2000 // a device
	scaleNotes   = 200  // fewer than wait for a slow observer
	scaleMemory  = 500 << 20
	scaleNote    = "com.example.scale"
)

// streams are the three open streams of one device.
type streams struct {
	phone  *phone.Phone
	trace  *ostracerelay.Stream
	syslog *syslogrelay.Client
	notes  *notificationproxy.Client
	close  []func() error
}

// listen opens the streams and returns when the device has begun to serve all of them.
func (s *streams) listen(ctx context.Context, d *device.Device) error {
	trace, err := ostracerelay.Connect(ctx, d)
	if err != nil {
		return err
	}
	s.close = append(s.close, trace.Close)
	s.trace, err = trace.StartActivity(ctx, ostracerelay.Activity{PID: -1})
	if err != nil {
		return err
	}
	s.syslog, err = syslogrelay.Connect(ctx, d)
	if err != nil {
		return err
	}
	s.close = append(s.close, s.syslog.Close)
	s.notes, err = notificationproxy.Connect(ctx, d)
	if err != nil {
		return err
	}
	s.close = append(s.close, s.notes.Close)
	if err := s.notes.Observe(ctx, scaleNote); err != nil {
		return err
	}
	if err := s.notes.Post(ctx, scaleNote); err != nil { // behind Observe on the same connection
		return err
	}
	if _, err := s.notes.Next(ctx); err != nil {
		return err
	}
	// The text log has no answer to the start. Write entries until one arrives.
	heard := make(chan error, 1)
	go func() { heard <- second(s.syslog.Next(ctx)) }()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		s.phone.Log.Write(log.Entry{Message: "knock"})
		select {
		case err := <-heard:
			return err
		case <-again.C:
		}
	}
}

// count counts the numbered entries, which must arrive in order, until the last one.
func count(what string, next func() (string, error)) error {
	for n := 0; ; {
		text, err := next()
		if err != nil {
			return fmt.Errorf("%s: after %d entries: %w", what, n, err)
		}
		if !strings.HasPrefix(text, "entry ") { // knocks, and what daemons say of the connections
			continue
		}
		if want := fmt.Sprintf("entry %d", n); text != want {
			return fmt.Errorf("%s: %q, want %q", what, text, want)
		}
		n++
		if n == scaleEntries {
			return nil
		}
	}
}

// receive reads all three streams to their ends.
func (s *streams) receive(ctx context.Context) []error {
	var work sync.WaitGroup
	errs := make([]error, 3)
	work.Go(func() {
		errs[0] = count("os_trace", func() (string, error) {
			e, err := s.trace.Next(ctx)
			if err != nil {
				return "", err
			}
			return e.Message, nil
		})
	})
	work.Go(func() {
		errs[1] = count("syslog", func() (string, error) {
			e, err := s.syslog.Next(ctx)
			return e.Message, err
		})
	})
	work.Go(func() {
		for i := range scaleNotes {
			if name, err := s.notes.Next(ctx); err != nil || name != scaleNote {
				errs[2] = fmt.Errorf("notification %d: %q, %w", i, name, err)
				return
			}
		}
	})
	work.Wait()
	return errs
}

// TestManyDevices keeps three streams open on each of 64 devices behind one muxer in this
// process. No entry may be lost.
func TestManyDevices(t *testing.T) {
	debug.FreeOSMemory() // what earlier tests left is none of this one's
	h := virtualtest.Host(t, virtual.HostOptions{
		Count: scaleDevices, Device: virtual.Options{Phone: phone.Options{LogRate: -1}},
	})
	f := virtualtest.Finder(t, h, device.Options{})
	ctx := virtualtest.Context(t)
	infos, err := f.List(ctx, device.Selector{})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(infos) != scaleDevices {
		t.Fatalf("List finds %d devices, want %d", len(infos), scaleDevices)
	}
	all := make([]streams, scaleDevices)
	for i := range all {
		m := h.Devices()[i]
		all[i].phone = m.Phone()
		d, err := f.Find(ctx, device.Selector{UDID: m.UDID()})
		if err != nil {
			t.Fatal(err)
		}
		if err := all[i].listen(ctx, d); err != nil {
			t.Fatalf("%s: %v", d, err)
		}
	}
	var work sync.WaitGroup
	for i := range all {
		s := &all[i]
		work.Go(func() {
			for n, err := range s.receive(ctx) {
				if err != nil {
					t.Errorf("device %d, stream %d: %v", i, n, err)
				}
			}
		})
		work.Go(func() {
			for n := range scaleEntries {
				s.phone.Log.Write(log.Entry{Message: fmt.Sprintf("entry %d", n)})
				if n%(scaleEntries/scaleNotes) == 0 {
					s.phone.Notifications.Post(scaleNote)
				}
			}
		})
	}
	work.Wait()
	if rss, ok := residentMemory(t); ok && !raced {
		t.Logf("%d MiB resident", rss>>20)
		if rss > scaleMemory {
			t.Errorf("%d MiB resident, want at most %d", rss>>20, scaleMemory>>20)
		}
	}
	for i := range all {
		for _, closes := range all[i].close {
			if err := closes(); err != nil {
				t.Errorf("device %d: close: %v", i, err)
			}
		}
	}
}

// residentMemory returns the resident memory of this process, if the system has /proc.
func residentMemory(t *testing.T) (uint64, bool) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, after, ok := strings.Cut(string(b), "VmRSS:")
	var kib uint64
	_, err = fmt.Sscan(after, &kib)
	if !ok {
		t.Fatal("no VmRSS in /proc/self/status")
	}
	if err != nil {
		t.Fatalf("VmRSS in /proc/self/status: %v", err)
	}
	return kib << 10, true
}
