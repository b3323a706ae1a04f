package usbmux

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// elsewhere connects to an echo service on a port of a device that is somewhere else.
// Other ports are closed or silent.
func elsewhere(ctx context.Context, port uint16) (net.Conn, error) {
	switch port {
	case echoPort:
		here, there := linktest.Prompt()
		go func() {
			defer there.Close()
			_, _ = io.Copy(there, there)
		}()
		return here, nil
	case 1:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, syscall.ECONNREFUSED
}

// promptTo is pipeTo for tests that expect exact times.
func promptTo(m *Muxer) link.DialFunc {
	return func(context.Context) (net.Conn, error) {
		here, there := linktest.Prompt()
		go m.ServeConn(context.Background(), there)
		return here, nil
	}
}

// TestDial connects through a Muxer to a device that is somewhere else.
func TestDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMuxer(MuxerOptions{})
		defer m.Close()
		c := newClient(t, Options{Dial: promptTo(m)})
		ctx := t.Context()
		id := m.Attach(Attachment{UDID: testUDID, Dial: elsewhere})
		conn, err := c.Connect(ctx, id, echoPort)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "hello")
		if err := link.CloseWrite(conn); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if string(got) != "hello" || err != nil {
			t.Errorf("the device sends %q, %v, want hello", got, err)
		}
		conn.Close()
		if _, err := c.Connect(ctx, id, 9); !errors.Is(err, ConnectionRefused) {
			t.Errorf("a closed port: %v, want %v", err, ConnectionRefused)
		}
		begin := time.Now()
		if _, err := c.Connect(ctx, id, 1); !errors.Is(err, ConnectionRefused) {
			t.Errorf("a silent device: %v, want %v", err, ConnectionRefused)
		}
		if took := time.Since(begin); took != connectTimeout {
			t.Errorf("a silent device is given up after %v, want %v", took, connectTimeout)
		}
	})
}

// TestDialEnds detaches a device and closes the Muxer while it connects and while it is
// connected.
func TestDialEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(m *Muxer, id uint32){
		"detached": func(m *Muxer, id uint32) { m.Detach(id) },
		"closed":   func(m *Muxer, _ uint32) { m.Close() },
	} {
		for _, port := range []uint16{1, echoPort} {
			synctest.Test(t, func(t *testing.T) {
				m := NewMuxer(MuxerOptions{})
				defer m.Close()
				c := newClient(t, Options{Dial: promptTo(m)})
				id := m.Attach(Attachment{UDID: testUDID, Dial: elsewhere})
				done := make(chan error, 1)
				go func() {
					conn, err := c.Connect(t.Context(), id, port)
					if err == nil {
						_, err = io.Copy(io.Discard, conn)
						conn.Close()
					}
					done <- err
				}()
				synctest.Wait()
				begin := time.Now()
				end(m, id)
				<-done
				if took := time.Since(begin); took > lingerTime {
					t.Errorf("%s, port %d: the connection lives for %v", name, port, took)
				}
			})
		}
	}
}

// TestIdle has clients that do not finish their request. A client that listens may be
// silent.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMuxer(MuxerOptions{Idle: time.Minute})
		defer m.Close()
		for _, text := range []string{"", "\x10\x00\x00"} {
			here, there := linktest.Prompt()
			go m.ServeConn(context.Background(), there)
			io.WriteString(here, text)
			begin := time.Now()
			_, err := io.Copy(io.Discard, here)
			if err != nil {
				t.Errorf("%q: %v, want the end", text, err)
			}
			if took := time.Since(begin); took < time.Minute || took > time.Minute+lingerTime {
				t.Errorf("%q: the connection lives for %v, want a minute", text, took)
			}
			here.Close()
		}
		c := newClient(t, Options{Dial: promptTo(m)})
		l, err := c.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		time.Sleep(time.Hour)
		m.Attach(Attachment{UDID: testUDID})
		if e, err := l.Next(t.Context()); err != nil || e.Kind != Attached {
			t.Errorf("after an hour: %v, %v, want %v", e.Kind, err, Attached)
		}
	})
}

// TestMaxClients connects more clients than a Muxer has at a time.
func TestMaxClients(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{MaxClients: 2})
	address := listenOn(t, m, "tcp")
	c := newClient(t, Options{Address: address})
	ctx := testContext(t)
	var listeners []*Listener
	for range 2 {
		l, err := c.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners = append(listeners, l)
	}
	third := make(chan error, 1)
	go func() {
		_, err := c.List(ctx)
		third <- err
	}()
	listeners[0].Close() // before this the third client waits
	if err := <-third; err != nil {
		t.Errorf("after another client has left: %v", err)
	}
}
