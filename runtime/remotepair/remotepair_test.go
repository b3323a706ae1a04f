package remotepair

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

func TestPairThenVerify(t *testing.T) {
	bubble(t, func(r *rig) {
		var asked trust.Dialog
		r.dev.Consent = func(_ context.Context, d trust.Dialog) error { asked = d; return nil }
		r.dev.Listen = func(_ context.Context, q ListenerRequest) (*Listener, error) {
			return &Listener{Port: 50000}, nil
		}
		shown := 0
		c := r.connect(Options{HostName: "my mac", OnConsent: func() { shown++ }})
		i := c.Device()
		if i.UDID != r.phone.Identity.UDID || i.Identifier != i.UDID ||
			i.Name != r.phone.Values.Name() ||
			i.Model != r.phone.Identity.ProductType || i.ECID == 0 ||
			i.WireVersion != 19 || i.MinWireVersion != 8 || !i.AllowsPairSetup ||
			!i.AllowsPinlessPairing || !i.AllowsIncomingTunnels {
			t := i
			r.Errorf("device %+v", t)
		}
		kvs, err := binaryOf(i.Peer["deviceKVSData"])
		if d, derr := plist.DecodeDict(kvs); err != nil || derr != nil ||
			d["ProductVersion"] != r.phone.Identity.Version {
			r.Errorf("deviceKVSData = %v, %v, %v", d, err, derr)
		}
		if _, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP}); !errors.Is(err,
			ErrNotVerified) {
			r.Errorf("listener before pairing: %v", err)
		}
		rec, err := c.Pair(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if asked.HostName != "my mac" || shown != 1 {
			r.Errorf("dialog %+v, shown %d times", asked, shown)
		}
		if rec.PeerUDID != i.UDID || rec.PeerModel != i.Model || rec.PeerName != i.Name ||
			rec.PeerIdentifier != r.dev.Peers.Identifier() ||
			rec.HostIdentifier != r.host.Identifier || len(rec.RemoteUnlockHostKey) != 44 {
			r.Errorf("record %+v", rec)
		}
		if same, known := rec.Matches("x", r.dev.Peers.AuthTag("x")); !same || !known {
			r.Error("the record does not recognise the device's Bonjour record")
		}
		peer, ok := r.dev.Peers.Peer(r.host.Identifier)
		if !ok || peer.Name != "my mac" || peer.Model != "computer-model" ||
			!peer.PublicKey.Equal(r.host.public()) || !bytes.Equal(peer.AltIRK, r.host.AltIRK) {
			r.Errorf("peer %v, %t", peer, ok)
		}
		listen(r, c) // on the channel that setup opened
		c.Close()
		for range 2 {
			c = r.connect(Options{Identity: rec.Identity(""), Record: rec})
			if err := c.Verify(r.Context()); err != nil {
				r.Fatal(err)
			}
			listen(r, c)
		}
	})
}

// listen asks for listeners of both kinds.
func listen(r *rig, c *Client) {
	r.Helper()
	for range 3 {
		l, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP})
		if err != nil || l.Port != 50000 || len(l.Key) != listenerKeyLen {
			r.Fatalf("listener %v, %v", l, err)
		}
		if _, err := x509.ParsePKIXPublicKey(l.DevicePublicKey); err != nil {
			r.Errorf("devicePublicKey: %v", err)
		}
	}
}

func TestListenerRequests(t *testing.T) {
	bubble(t, func(r *rig) {
		var got ListenerRequest
		var reply *Listener
		var refuse error
		var life context.Context
		r.dev.Listen = func(ctx context.Context, q ListenerRequest) (*Listener, error) {
			got, life = q, ctx
			return reply, refuse
		}
		r.pair()
		c := r.connect(Options{})
		if err := c.Verify(r.Context()); err != nil {
			r.Fatal(err)
		}
		reply = &Listener{Port: 1234, DevicePublicKey: []byte("spki")}
		l, err := c.CreateListener(r.Context(),
			ListenerRequest{Protocol: QUIC, Key: []byte("host's spki")})
		if err != nil || l.Port != 1234 || string(l.DevicePublicKey) != "spki" ||
			got.Protocol != QUIC || string(got.Key) != "host's spki" {
			r.Errorf("QUIC: %v, %v; device got %v", l, err, got)
		}
		l, err = c.CreateListener(r.Context(),
			ListenerRequest{Protocol: TCP, Key: make([]byte, 64)})
		if err != nil || len(got.Key) != 64 || !bytes.Equal(got.Key, l.Key) {
			r.Errorf("TCP: %v, %v", l, err)
		}
		for _, q := range []ListenerRequest{
			{Protocol: QUIC}, {Protocol: "udp", Key: []byte("k")},
			{Protocol: TCP, Key: make([]byte, maxListenerKey+1)},
		} {
			if l, err := c.CreateListener(r.Context(), q); err == nil || l != nil {
				r.Errorf("%v: %v", q, l)
			}
		}
		refuse = Refuse(CodeForgotten, "who are you")
		var e *Error
		if _, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP}); !errors.As(err,
			&e) || e.Code != CodeForgotten || errors.Is(err, errors.ErrUnsupported) {
			r.Errorf("refused: %v", err)
		}
		refuse = errors.New("no")
		if _, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP}); !errors.Is(err,
			errors.ErrUnsupported) {
			r.Errorf("not supported: %v", err)
		}
		if _, err := c.Call(r.Context(), "makeCoffee", plist.Dict{"sugar": int64(2)}); !errors.Is(
			err, errors.ErrUnsupported,
		) {
			r.Errorf("unknown request: %v", err)
		}
		key, err := c.CreateRemoteUnlockKey(r.Context())
		if b, berr := base64.StdEncoding.DecodeString(key); err != nil || berr != nil ||
			len(b) != 32 {
			r.Errorf("unlock key %v, %v", err, berr)
		}
		if life.Err() != nil {
			r.Error("the listener's life ended before the channel")
		}
		c.Close()
		<-life.Done()
	})
}

func TestNoTunnelsHere(t *testing.T) {
	bubble(t, func(r *rig) {
		c := r.connect(Options{})
		if c.Device().AllowsIncomingTunnels {
			r.Error("a device without Listen allows tunnels")
		}
		if _, err := c.Pair(r.Context()); err != nil {
			r.Fatal(err)
		}
		var e *Error
		_, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP})
		if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &e) ||
			e.Domain != controlDomain || e.Code != CodeUnsupported {
			r.Errorf("listener: %v", err)
		}
	})
}

func TestUnknownHost(t *testing.T) {
	bubble(t, func(r *rig) {
		c := r.connect(Options{})
		for range 2 { // the channel stays open
			var e *Error
			if err := c.Verify(r.Context()); !errors.Is(err, ErrNotPaired) || !errors.As(err, &e) ||
				e.Code != 4 || e.Subject != "M4" {
				r.Errorf("verify of an unknown host: %v", err)
			}
		}
		if _, err := c.Pair(r.Context()); err != nil {
			r.Errorf("pair on the same channel: %v", err)
		}
	})
}

func TestForgedHost(t *testing.T) {
	bubble(t, func(r *rig) {
		r.pair()
		forged := NewIdentity("my mac", nil) // the name, another key
		var e *Error
		if err := r.connect(Options{Identity: forged}).Verify(
			r.Context(),
		); !errors.Is(err, ErrNotPaired) || !errors.As(err, &e) || e.Code != 2 {
			r.Errorf("verify with another key: %v", err)
		}
		r.dev.Peers.Remove(r.host.Identifier)
		if err := r.connect(Options{}).Verify(r.Context()); !errors.Is(err, ErrNotPaired) {
			r.Errorf("verify after the device forgot: %v", err)
		}
	})
}

func TestOtherDevice(t *testing.T) {
	bubble(t, func(r *rig) {
		rec := r.pair()
		// Another phone, which trusts the same host, takes the address.
		other := newRig(r, phone.Options{Serial: 7})
		other.host, other.pipe = r.host, r.pipe
		other.pair()
		c := other.connect(Options{Record: rec})
		if err := c.Verify(r.Context()); !errors.Is(err, ErrAuthentication) ||
			errors.Is(err, ErrNotPaired) {
			r.Errorf("verify with another device: %v", err)
		}
		if _, err := c.CreateRemoteUnlockKey(r.Context()); !errors.Is(err, ErrNotVerified) {
			r.Errorf("request to another device: %v", err)
		}
	})
}

func TestConsent(t *testing.T) {
	bubble(t, func(r *rig) {
		r.dev.Consent = r.phone.Trust.Ask
		r.phone.Trust.SetPolicy(trust.Policy{Mode: trust.Deny})
		var e *Error
		c := r.connect(Options{})
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrDenied) || !errors.As(err, &e) ||
			e.Code == 0 || e.Domain == "" {
			r.Errorf("denied: %v", err)
		}
		if len(r.dev.Peers.All()) != 0 {
			r.Error("a denied host is trusted")
		}
		r.phone.Trust.SetPolicy(trust.Policy{Mode: trust.After, After: 30 * time.Second})
		begun := time.Now()
		if _, err := c.Pair(r.Context()); err != nil || time.Since(begun) != 30*time.Second {
			r.Errorf("after a while: %v, %v", err, time.Since(begun))
		}
		if r.phone.Trust.Reset(); len(r.dev.Peers.All()) != 0 {
			r.Errorf("a phone that forgot all hosts trusts %v", r.dev.Peers.All())
		}
		if err := c.Verify(r.Context()); !errors.Is(err, ErrNotPaired) {
			r.Errorf("verify of a forgotten host: %v", err)
		}
		r.phone.Trust.SetPolicy(trust.Policy{Mode: trust.Ignore})
		if _, err := r.connect(Options{ConsentTimeout: time.Hour}).Pair(r.Context()); !errors.Is(
			err, ErrDenied,
		) {
			r.Errorf("dialog goes by itself: %v", err)
		}
		begun = time.Now()
		c = r.connect(Options{ConsentTimeout: 5 * time.Second})
		if _, err := c.Pair(r.Context()); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(begun) != 5*time.Second {
			r.Errorf("host does not wait: %v, %v", err, time.Since(begun))
		}
		if err := c.Verify(r.Context()); err == nil {
			r.Error("a channel with half a setup went on")
		}
	})
}

// If the host leaves while its dialog is shown, the dialog must end.
func TestLeavingDuringConsent(t *testing.T) {
	bubble(t, func(r *rig) {
		shown, gone := make(chan struct{}), make(chan struct{})
		r.dev.Consent = func(ctx context.Context, _ trust.Dialog) error {
			close(shown)
			<-ctx.Done()
			close(gone)
			return ctx.Err()
		}
		begun := time.Now()
		tr, ended := r.serve()
		c, err := Connect(r.Context(), tr, Options{Identity: r.host})
		if err != nil {
			r.Fatal(err)
		}
		paired := make(chan error, 1)
		go func() { _, err := c.Pair(context.Background()); paired <- err }()
		<-shown
		for range 2 {
			c.Close()
		}
		if err := <-paired; !errors.Is(err, net.ErrClosed) {
			r.Errorf("pair on a closed client: %v", err)
		}
		<-gone
		if err := <-ended; err != nil || time.Since(begun) != 0 {
			r.Errorf("device: %v after %v", err, time.Since(begun))
		}
		if err := c.Verify(r.Context()); !errors.Is(err, net.ErrClosed) {
			r.Errorf("verify after Close: %v", err)
		}
	})
}

func TestPIN(t *testing.T) {
	bubble(t, func(r *rig) {
		var shown string
		r.dev.ShowPIN = func(pin string) { shown = pin }
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrPINNeeded) {
			r.Errorf("without a PIN: %v", err)
		}
		wrong := func(context.Context) (string, error) { return "x" + shown, nil }
		right := func(context.Context) (string, error) { return " " + shown + "\n", nil }
		cancel := func(context.Context) (string, error) { return "", context.Canceled }
		var e *Error
		if _, err := r.connect(Options{PIN: wrong}).Pair(
			r.Context(),
		); !errors.Is(err, ErrWrongPIN) || !errors.As(err, &e) || e.Code != 2 || e.Subject != "M4" {
			r.Errorf("wrong PIN: %v", err)
		}
		if _, err := r.connect(Options{PIN: cancel}).Pair(r.Context()); !errors.Is(err,
			context.Canceled) {
			r.Errorf("no PIN: %v", err)
		}
		if len(r.dev.Peers.All()) != 0 {
			r.Fatal("a host without the PIN is trusted")
		}
		c := r.connect(Options{PIN: right})
		if c.Device().AllowsPinlessPairing {
			r.Error("a device with a PIN says that it pairs without")
		}
		if _, err := c.Pair(r.Context()); err != nil || len(shown) != 6 {
			r.Errorf("right PIN %q: %v", shown, err)
		}
	})
}

func TestTooManyAttempts(t *testing.T) {
	bubble(t, func(r *rig) {
		r.dev.ShowPIN = func(string) {}
		wrong := func(context.Context) (string, error) { return "no", nil }
		c := r.connect(Options{PIN: wrong})
		for range backOffAfter {
			if _, err := c.Pair(r.Context()); !errors.Is(err, ErrWrongPIN) {
				r.Fatal(err)
			}
		}
		var e *Error
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrBackOff) || !errors.As(err, &e) ||
			e.Retry != backOffTime || e.Code != 3 {
			r.Errorf("right afterwards: %v", err)
		}
		<-time.After(backOffTime)
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrWrongPIN) {
			r.Errorf("after waiting: %v", err)
		}
		for range maxTries {
			r.dev.Peers.tried(false)
		}
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrMaxTries) {
			r.Errorf("after %d attempts: %v", maxTries, err)
		}
		r.dev.Peers.Reset()
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrWrongPIN) {
			r.Errorf("after Reset: %v", err)
		}
	})
}

func TestRefusedSetups(t *testing.T) {
	bubble(t, func(r *rig) {
		r.dev.Peers.SetMax(0)
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrMaxPeers) {
			r.Errorf("no room: %v", err)
		}
		r.dev.Peers.SetMax(1)
		r.phone.Screen.SetPasscode(true)
		r.phone.Screen.Lock()
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrDenied) {
			r.Errorf("locked: %v", err)
		}
		r.phone.Screen.Unlock()
		r.dev.NoSetup = true
		c := r.connect(Options{})
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrDenied) || c.Device().AllowsPairSetup {
			r.Errorf("not allowed: %v", err)
		}
		r.dev.NoSetup = false
		r.pair()
		r.pair() // the same host again is no other peer
		r.host = NewIdentity("another", nil)
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrMaxPeers) {
			r.Errorf("second host: %v", err)
		}
		if all := r.dev.Peers.All(); len(all) != 1 || !r.dev.Peers.Remove(all[0].Identifier) ||
			r.dev.Peers.Remove("x") {
			r.Errorf("peers %v", all)
		}
	})
}

func TestWireVersions(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]int64{
		"ios17.2": 19, "ios17": 19, "ios18": 24, "ios26": 24,
	} {
		p := phonetest.New(t, phone.Options{Profile: profile})
		if got := (&Device{
			Phone: p, Peers: NewPeers(p),
		}).greeting()["wireProtocolVersion"]; got != want {
			t.Errorf("%s: %v, want %d", profile, got, want)
		}
	}
	p, _ := phone.New(phone.Options{LogRate: -1})
	a, b := NewPeers(p), NewPeers(p)
	if a.Identifier() != b.Identifier() || !a.id.PrivateKey.Equal(b.id.PrivateKey) {
		t.Error("a phone that is made again has another identifier or key")
	}
	q, _ := phone.New(phone.Options{LogRate: -1, Serial: 1})
	if c := NewPeers(q); c.Identifier() == a.Identifier() ||
		c.id.PrivateKey.Equal(a.id.PrivateKey) {
		t.Error("two phones have one identifier or key")
	}
}

// Calls wait for each other and for their own contexts.
func TestConcurrentCalls(t *testing.T) {
	bubble(t, func(r *rig) {
		block := make(chan struct{})
		r.dev.Listen = func(ctx context.Context, q ListenerRequest) (*Listener, error) {
			<-block
			return &Listener{Port: uint16(len(q.Key))}, nil
		}
		r.pair()
		c := r.connect(Options{})
		if err := c.Verify(r.Context()); err != nil {
			r.Fatal(err)
		}
		ports := make(chan int, 8)
		for n := range 8 {
			go func() {
				l, err := c.CreateListener(context.Background(),
					ListenerRequest{Protocol: TCP, Key: make([]byte, n+1)})
				if err != nil || int(l.Port) != n+1 {
					r.Errorf("listener %d: %v, %v", n, l, err)
				}
				ports <- n
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if _, err := c.CreateRemoteUnlockKey(ctx); !errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("call while another runs: %v", err)
		}
		close(block)
		for range 8 {
			<-ports
		}
		if _, err := c.CreateRemoteUnlockKey(r.Context()); err != nil {
			r.Errorf("a call that never began has spoilt the channel: %v", err)
		}
	})
}

func TestInterruptedCall(t *testing.T) {
	bubble(t, func(r *rig) {
		block := make(chan struct{})
		defer close(block)
		r.dev.Listen = func(context.Context, ListenerRequest) (*Listener, error) {
			<-block
			return nil, errors.New("late")
		}
		r.pair()
		c := r.connect(Options{})
		if err := c.Verify(r.Context()); err != nil {
			r.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if _, err := c.CreateListener(ctx, ListenerRequest{Protocol: TCP}); !errors.Is(err,
			context.DeadlineExceeded) {
			r.Errorf("late answer: %v", err)
		}
		if _, err := c.CreateRemoteUnlockKey(r.Context()); err == nil {
			r.Error("the channel went on out of step")
		}
	})
}

func TestConnectFailures(t *testing.T) {
	bubble(t, func(r *rig) {
		host, device := r.pipe()
		if _, err := Connect(r.Context(), host, Options{}); err == nil {
			r.Error("connected without an identity")
		}
		if _, err := device.Recv(r.Context()); err != io.EOF {
			r.Errorf("transport is open after the failure: %v", err)
		}
		host, device = r.pipe()
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if c, err := Connect(ctx, host, Options{Identity: r.host}); c != nil ||
			!errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("silent device: %v", err)
		}
		device.Close()
		host, device = r.pipe()
		device.Close()
		var e *Error
		if _, err := Connect(r.Context(), host, Options{Identity: r.host}); !errors.As(err, &e) {
			r.Errorf("device gone: %v", err)
		}
	})
}

func TestDeviceInfoOfStrangers(t *testing.T) {
	t.Parallel()
	if got := parseDeviceInfo(
		plist.Dict{"peerDeviceInfo": "x", "deviceOptions": []any{}},
	); !reflect.DeepEqual(got, DeviceInfo{}) {
		t.Errorf("%+v", got)
	}
}
