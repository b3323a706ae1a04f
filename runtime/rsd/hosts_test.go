package rsd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// singleList is a device with the rules of Hosts and one service, whose port moves.
type singleList struct {
	*machine
	connected atomic.Int32 // connections to the list so far
	port      atomic.Int32 // of the service
}

func newSingleList(t *testing.T) *singleList {
	s := &singleList{machine: newMachine(t)}
	open := func() {
		s.listen(uint16(s.port.Add(1)), handlerFunc(func(ctx context.Context, c net.Conn) error {
			_, err := c.Read(make([]byte, 1))
			return err
		}))
	}
	open()
	d := &Device{
		Phone: newPhone(t, "ios26"),
		Services: func() []Service {
			return []Service{{Name: "service", Port: uint16(s.port.Load())}}
		},
		Hosts: &Hosts{Move: func() {
			s.listen(uint16(s.port.Load()), nil)
			open()
		}},
	}
	s.listen(listPort, handlerFunc(func(ctx context.Context, c net.Conn) error {
		s.connected.Add(1)
		return d.Serve(ctx, c)
	}))
	return s
}

// dial refuses ports on which nothing listens.
func (s *singleList) dial(ctx context.Context, port uint16) (net.Conn, error) {
	s.mu.Lock()
	there := s.ports[port] != nil
	s.mu.Unlock()
	if !there {
		return nil, syscall.ECONNREFUSED
	}
	return s.machine.dial(ctx, port)
}

func (s *singleList) client(t *testing.T, host xpc.UUID) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.dial, listPort, Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// moved returns how often the ports have changed.
func (s *singleList) moved() int { return int(s.port.Load()) - 1 }

func (s *singleList) open(t *testing.T, c *Client) error {
	t.Helper()
	nc, err := c.Open(t.Context(), service.Name{Remote: "service"})
	if err == nil {
		nc.Close()
	}
	return err
}

// TestSingleList has several hosts at a device that keeps one connection to its list. The
// newest one must be kept. The ports must stay if the hosts have the same identity, and
// change if another one comes. All hosts must find the service again.
func TestSingleList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSingleList(t)
		first := s.client(t, xpc.UUID{1})
		second := s.client(t, xpc.UUID{1})
		<-first.Done()
		synctest.Wait()
		if err := second.Err(); err != nil {
			t.Errorf("the newest connection ended: %v", err)
		}
		if n := s.moved(); n != 0 {
			t.Errorf("the ports have changed %d times for one identity", n)
		}
		if err := s.open(t, first); err != nil {
			t.Errorf("Open by the host that was replaced: %v", err)
		}
		foreign := s.client(t, xpc.UUID{2})
		<-second.Done()
		synctest.Wait()
		if n := s.moved(); n != 1 {
			t.Errorf("the ports have changed %d times for a foreign identity, want 1", n)
		}
		if _, err := s.dial(t.Context(), 1); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the port from before the foreign host: %v, want a refused connection", err)
		}
		read := s.connected.Load()
		if err := s.open(t, foreign); err != nil {
			t.Errorf("Open with the list that was sent again: %v", err)
		}
		if n := s.connected.Load() - read; n != 0 {
			t.Errorf("the list was read %d times, although it was sent again", n)
		}
		for _, c := range []*Client{second, foreign, first, second} {
			if err := s.open(t, c); err != nil {
				t.Errorf("Open after the ports have changed: %v", err)
			}
			synctest.Wait()
		}
		foreign.Close()
		before := s.moved()
		again := s.client(t, xpc.UUID{2})
		synctest.Wait()
		if n := s.moved() - before; n != 1 {
			t.Errorf("the ports have changed %d times after the last host has left, want 1", n)
		}
		for _, c := range []*Client{first, second, again} {
			c.Close()
		}
		s.close()
	})
}

// TestSingleListWithoutHandshake has a host that sends no handshake, as go-ios. It takes
// the connection and does not move the ports.
func TestSingleListWithoutHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSingleList(t)
		c := s.client(t, xpc.UUID{1})
		nc, err := s.dial(t.Context(), listPort)
		if err != nil {
			t.Fatal(err)
		}
		x, err := remotexpc.Connect(t.Context(), nc, remotexpc.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Receive(t.Context()); err != nil {
			t.Fatalf("receiving the list: %v", err)
		}
		<-c.Done()
		synctest.Wait()
		if n := s.moved(); n != 0 {
			t.Errorf("the ports have changed %d times", n)
		}
		x.Close()
		c.Close()
		s.close()
	})
}

// TestIdentityLasts reads the list several times with one Client that was given no
// identity.
func TestIdentityLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSingleList(t)
		c := s.client(t, xpc.UUID{})
		for range 3 {
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := s.connected.Load(); n != 4 {
			t.Errorf("the list was read %d times, want 4", n)
		}
		if n := s.moved(); n != 0 {
			t.Errorf("the ports have changed %d times for one Client", n)
		}
		c.Close()
		s.close()
	})
}

// TestCutOff reads the list of a device that ends the first connections before it sends
// the list, as it does when another host connects at the same moment.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cuts int32
		want error
	}{{3, nil}, {1000, io.EOF}} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t)
			var dialed atomic.Int32
			d := &Device{Phone: newPhone(t, "ios17"), Services: func() []Service { return nil }}
			m.listen(listPort, handlerFunc(func(ctx context.Context, nc net.Conn) error {
				if dialed.Add(1) <= c.cuts {
					return nil
				}
				return d.Serve(ctx, nc)
			}))
			begun := time.Now()
			list, err := Dial(t.Context(), m.dial, listPort, Options{Patience: UsualPatience})
			if (err == nil) != (c.want == nil) {
				t.Fatalf("Dial with %d connections cut = %v, want %v", c.cuts, err, c.want)
			}
			if n := dialed.Load(); n > 10 {
				t.Errorf("Dial tried %d times", n)
			}
			if took := time.Since(begun); took < 3*firstPause || took > handshakeTimeout {
				t.Errorf("Dial tried again without pauses, or for too long: %v", took)
			}
			if list != nil {
				list.Close()
			}
			m.close()
		})
	}
}

// TestRefusedAtOnce dials a list where nothing listens. There is no second attempt.
func TestRefusedAtOnce(t *testing.T) {
	t.Parallel()
	n := 0
	_, err := Dial(t.Context(), func(context.Context, uint16) (net.Conn, error) {
		n++
		return nil, io.EOF
	}, listPort, Options{Patience: UsualPatience})
	if !errors.Is(err, io.EOF) {
		t.Errorf("Dial = %v, want the error of dialing", err)
	}
	if n != 1 {
		t.Errorf("dialed %d times, want once", n)
	}
}

// TestHostIdentity starts several programs at once. All must get one identity, from a
// file that only its owner can read.
func TestHostIdentity(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "rsd-host")
	const programs = 16
	ids, errs := make([]xpc.UUID, programs), make([]error, programs)
	var wg sync.WaitGroup
	for n := range programs {
		wg.Go(func() { ids[n], errs[n] = HostIdentity(path, nil) })
	}
	wg.Wait()
	for n := range programs {
		if errs[n] != nil {
			t.Fatal(errs[n])
		}
		if ids[n] != ids[0] {
			t.Errorf("program %d has %s, want %s", n, ids[n], ids[0])
		}
	}
	if ids[0] == (xpc.UUID{}) {
		t.Error("the identity is zero")
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the file has the mode %v, want -rw-------", mode)
	}
	if err := KeepHostIdentity(path, xpc.UUID{7}); err != nil {
		t.Fatal(err)
	}
	id, err := HostIdentity(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (xpc.UUID{7}); id != want {
		t.Errorf("after KeepHostIdentity it is %s, want %s", id, want)
	}
}

// TestHostIdentityFails has files that cannot be used. They are not replaced, because
// another version may understand them.
func TestHostIdentityFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "rsd-host")
	if err := os.WriteFile(path, []byte("what\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := HostIdentity(path, nil); !errors.As(err, &e) {
		t.Errorf("HostIdentity of text = %v, want an Error", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "what\n" {
		t.Errorf("the file has %q now (%v)", b, err)
	}
	if _, err := HostIdentity(filepath.Join(path, "below"), nil); err == nil {
		t.Error("HostIdentity below a file succeeds")
	} else if errors.Is(err, fs.ErrExist) {
		t.Errorf("HostIdentity below a file = %v", err)
	}
}

func TestRemotedIdentity(t *testing.T) {
	t.Parallel()
	const (
		mac   = "EB958862-2222-1111-0000-000000000000"
		phone = "EB958862-3333-1111-0000-000000000000"
	)
	for _, c := range []struct{ dump, want string }{
		{"Local device\n\tUUID: " + mac + "\n\tMessaging Protocol Version: 5\n\n" +
			"Found ncm-device (device)\n\tState: connected\n\tUUID: " + phone + "\n", mac},
		{"Found ncm-device (device)\n\tUUID: " + phone + "\n\nLocal device\n\tUUID: " + mac + "\n",
			mac},
		{"Found ncm-device (device)\n\tUUID: " + phone + "\n", ""},
		{"Local device\n\tUUID: none\n", ""},
		{"remotectl: remoted does not answer\n", ""},
		{"", ""},
	} {
		id, ok := RemotedIdentity([]byte(c.dump))
		if ok != (c.want != "") {
			t.Errorf("RemotedIdentity(%q) = %v, want %v", c.dump, ok, c.want != "")
		}
		if ok && id.String() != c.want {
			t.Errorf("RemotedIdentity(%q) = %s, want %s", c.dump, id, c.want)
		}
	}
}
