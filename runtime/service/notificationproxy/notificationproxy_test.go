package notificationproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		return &Device{Env: service.Env{Phone: phonetest.New(tb, phone.Options{})}}
	},
	Calls: servicetest.Calls[*Client]{
		"next": servicetest.Value((*Client).Next),
		"all": func(c *Client, ctx context.Context) error {
			for range 2 {
				if _, err := c.Next(ctx); err != nil {
					return err
				}
			}
			return errors.New("two notifications out of one message")
		},
	},
	Typed:  fuzztest.Typed[*service.Error],
	Framed: true,
}

func TestService(t *testing.T) { suite.Test(t) }

type rig struct {
	t     *testing.T
	phone *phone.Phone
	dev   *Device
}

func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		f(t, &rig{t, p, &Device{Env: service.Env{Phone: p}}})
	})
}

func (r *rig) raw(ctx context.Context) (*link.PlistConn, <-chan error) {
	c, done := servicetest.Dial(ctx, servicetest.Prompt(r.t), r.dev)
	return link.NewPlistConn(c), done
}

func (r *rig) dial() (*Client, <-chan error) {
	c, done := r.raw(r.t.Context())
	cl := New(c.Conn)
	r.t.Cleanup(func() { cl.Close() })
	return cl, done
}

// next checks that the next notification is want. If want is "", it checks that none
// arrives.
func (r *rig) next(c *Client, want string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	got, err := c.Next(ctx)
	if want == "" && errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if err != nil {
		r.t.Errorf("Next: %v, want %q", err, want)
		return
	}
	if got != want {
		r.t.Errorf("Next = %q, want %q", got, want)
	}
}

// wantMessage checks the next message of a peer.
func wantMessage(t *testing.T, c *link.PlistConn, want plist.Dict) {
	t.Helper()
	got, err := c.RecvDict(t.Context())
	if err != nil {
		t.Errorf("RecvDict: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRelay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, _ := r.dial()
		b, _ := r.dial()
		must(t, a.Observe(t.Context(), "one", "two", "two"))
		must(t, b.Observe(t.Context(), "one"))
		synctest.Wait() // Observe is not confirmed
		must(t, a.Post(t.Context(), "one"))
		r.next(a, "one") // the connection that posted
		r.next(b, "one")
		must(t, b.Post(t.Context(), "two"))
		r.next(a, "two")
		r.next(a, "") // observed twice, relayed once
		r.next(b, "")
		must(t, b.Post(t.Context(), "three"))
		r.next(a, "")
	})
}

func TestPhoneNotifies(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		c, _ := r.dial()
		must(t, c.Observe(t.Context(), notifications.AppInstalled, notifications.DeviceName))
		synctest.Wait()
		if _, err := r.phone.Apps.Install(apps.Spec{BundleID: "com.example.app"}); err != nil {
			t.Fatal(err)
		}
		r.next(c, notifications.AppInstalled)
		must(t, r.phone.Values.Set("", "DeviceName", "Neu"))
		r.next(c, notifications.DeviceName)
	})
}

// TestMessages compares the messages with the protocol sheet.
func TestMessages(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		c, ended := r.raw(t.Context())
		for _, m := range []plist.Dict{
			{"Command": "ObserveNotification", "Name": "n"},
			{"Command": "NoSuchCommand", "Name": "n"}, // never answered
			{"Name": "n"},
			{"Command": "ObserveNotification"},
			{"Command": "PostNotification", "Name": strings.Repeat("x", MaxName+1)},
			{"Command": "PostNotification", "Name": "n"},
			{"Command": "Shutdown"},
		} {
			must(t, c.Send(t.Context(), m))
		}
		for _, want := range []plist.Dict{
			{"Command": "RelayNotification", "Name": "n"}, {"Command": "ProxyDeath"},
		} {
			wantMessage(t, c, want)
		}
		if _, err := c.RecvDict(t.Context()); err != io.EOF {
			t.Errorf("behind ProxyDeath: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestClientMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe()
		peer := link.NewPlistConn(d)
		cl := New(c)
		must(t, cl.Observe(t.Context(), "n"))
		must(t, cl.Post(t.Context(), "m"))
		for _, want := range []plist.Dict{
			{"Command": "ObserveNotification", "Name": "n"},
			{"Command": "PostNotification", "Name": "m"},
		} {
			wantMessage(t, peer, want)
		}
		for _, name := range []string{"", strings.Repeat("x", MaxName+1)} {
			if err := cl.Post(t.Context(), name); !errors.Is(err, ErrName) {
				t.Errorf("Post(%.5q) = %v", name, err)
			}
		}
		must(t, cl.Close())
		d.Close()
	})
}

func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		c, ended := r.dial()
		must(t, c.Observe(t.Context(), "n"))
		must(t, c.Post(t.Context(), "n"))
		must(t, c.Shutdown(t.Context()))
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
		r.next(c, "n") // arrived before the end
		_, err := c.Next(t.Context())
		if !errors.Is(err, io.EOF) {
			t.Errorf("Next: %v, want io.EOF", err)
		}
	})
}

// TestShutdownAndGone closes without waiting for ProxyDeath, as go-ios does.
func TestShutdownAndGone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		c, ended := r.raw(t.Context())
		must(t, c.Send(t.Context(), plist.Dict{"Command": "Shutdown"}))
		c.Close()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestInsecure(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dev.Insecure = true
		c, _ := r.dial()
		must(t, c.Observe(t.Context(), notifications.RequestPair, notifications.AppInstalled,
			"com.apple.mobile.lockdownX"))
		synctest.Wait()
		r.phone.Notifications.Post(notifications.AppInstalled)
		r.phone.Notifications.Post("com.apple.mobile.lockdownX")
		r.phone.Notifications.Post(notifications.RequestPair)
		r.next(c, notifications.RequestPair)
		o := r.phone.Notifications.Observe()
		defer o.Close()
		o.Add("com.example.secret")
		o.Add(notifications.RequestHostBUID)
		must(t, c.Post(t.Context(), "com.example.secret"))
		must(t, c.Post(t.Context(), notifications.RequestHostBUID))
		got, err := o.Next(t.Context())
		if err != nil {
			t.Errorf("Next: %v", err)
		}
		if got != notifications.RequestHostBUID {
			t.Errorf("Next = %q, want %q", got, notifications.RequestHostBUID)
		}
	})
}

func TestSlowObserver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		c, ended := r.raw(ctx)
		must(t, c.Send(t.Context(),
			plist.Dict{"Command": "ObserveNotification", "Name": strings.Repeat("n", 1000)}))
		synctest.Wait()
		for range 5000 { // the host does not read, and the phone does not wait
			r.phone.Notifications.Post(strings.Repeat("n", 1000))
		}
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestClientOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe()
		cl := New(c)
		defer cl.Close()
		defer d.Close()
		peer := link.NewPlistConn(d)
		var err error
		sent := 0
		for ; err == nil && sent < 2*queueLimit; sent++ { // until the client closes
			err = peer.Send(t.Context(), message{cmdRelay, fmt.Sprint(sent)})
		}
		synctest.Wait()
		for i := range queueLimit {
			name, err := cl.Next(t.Context())
			if err != nil {
				t.Fatalf("notification %d: %v", i, err)
			}
			if name != fmt.Sprint(i) {
				t.Fatalf("notification %d = %q", i, name)
			}
		}
		if _, err := cl.Next(t.Context()); !errors.Is(err, link.ErrUnread) {
			t.Errorf("Next = %v, want ErrUnread", err)
		}
	})
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	next := servicetest.Value((*Client).Next)
	suite.Fails(t, "end", "", next, io.EOF)
	suite.Fails(t, "half", "\x00\x00\x00\x09<", next, io.ErrUnexpectedEOF)
	suite.Fails(t, "too long", "\xff\x00\x00\x00", next, link.ErrTooLarge)
}

// TestBadMessages sends a good notification, a malformed message, a good notification
// and the end. Both good notifications arrive.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]any{
		"no plist":        []byte("hi"),
		"empty":           []byte{},
		"null":            []byte("bplist00"),
		"list":            []any{"Command", "RelayNotification"},
		"no keys":         plist.Dict{},
		"another command": message{"Dance", "x"},
		"no name":         message{Command: cmdRelay},
		"long name":       message{cmdRelay, strings.Repeat("x", MaxName+1)},
		"huge": plist.Dict{
			"Command": cmdRelay, "Name": strings.Repeat("x", MaxMessage-1000),
		},
		"name of a type": plist.Dict{"Command": cmdRelay, "Name": int64(7)},
		"error":          plist.Dict{"Error": "InternalError"},
	} {
		c, d := linktest.Pipe()
		go func() {
			peer := link.NewPlistConn(d)
			_ = peer.Send(context.Background(), message{cmdRelay, "first"})
			if raw, ok := bad.([]byte); ok {
				_, _ = d.Write(link.AppendFrame(nil, raw))
			} else {
				_ = peer.Send(context.Background(), bad)
			}
			_ = peer.Send(context.Background(), message{cmdRelay, "second"})
			_ = peer.Send(context.Background(), message{Command: cmdDeath})
		}()
		cl := New(c)
		for _, want := range []string{"first", "second"} {
			got, err := cl.Next(t.Context())
			if got != want {
				t.Errorf("%s: Next = %q, want %q", name, got, want)
			}
			if err != nil {
				t.Errorf("%s: Next: %v", name, err)
			}
		}
		if _, err := cl.Next(t.Context()); !errors.Is(err, ErrProxyDeath) {
			t.Errorf("%s: Next = %v, want ErrProxyDeath", name, err)
		}
		if n := cl.Malformed(); n != 1 {
			t.Errorf("%s: %d malformed messages, want 1", name, n)
		}
		cl.Close()
		d.Close()
	}
}

func TestCloseUnblocks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		c, ended := r.dial()
		waiting := make(chan error, 2)
		for range 2 {
			go func() { _, err := c.Next(t.Context()); waiting <- err }()
		}
		synctest.Wait()
		must(t, c.Close())
		must(t, c.Close())
		for range 2 {
			if err := <-waiting; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Next = %v", err)
			}
		}
		if err := c.Post(t.Context(), "n"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Post = %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzDevice(f *testing.F) {
	suite.FuzzDevice(f,
		"<plist><dict><key>Command</key><string>ObserveNotification</string><key>Name</key><string>n</string></dict></plist>",
		"<plist><dict><key>Command</key><string>Shutdown</string></dict></plist>",
	)
}

func FuzzClient(f *testing.F) {
	suite.FuzzClient(f,
		"<plist><dict><key>Command</key><string>RelayNotification</string><key>Name</key><string>n</string></dict></plist>",
	)
}

func BenchmarkPostAndRelay(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	cl := New(servicetest.Conn(b, NewDevice(service.Env{Phone: p})))
	defer cl.Close()
	ctx := context.Background()
	if err := cl.Observe(ctx, "n"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := cl.Post(ctx, "n"); err != nil {
			b.Fatal(err)
		}
		if _, err := cl.Next(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
