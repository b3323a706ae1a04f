package remotepair

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
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
		c := r.connect(Options{HostName: "my mac", OnConsent: func() func() {
			shown++
			return func() {}
		}})
		i := c.Device()
		want := i
		want.UDID, want.Identifier = r.phone.Identity.UDID, r.phone.Identity.UDID
		want.Name, want.Model = r.phone.Values.Name(), r.phone.Identity.ProductType
		want.WireVersion, want.MinWireVersion = 19, 8
		want.AllowsPairSetup, want.AllowsPinlessPairing = true, true
		want.AllowsIncomingTunnels = true
		if !reflect.DeepEqual(i, want) {
			r.Errorf("device %+v\nwant %+v", i, want)
		}
		if i.ECID == 0 {
			r.Error("the device has no ECID")
		}
		kvs, err := binaryOf(i.Peer["deviceKVSData"])
		if err != nil {
			r.Errorf("deviceKVSData: %v", err)
		}
		d, err := plist.DecodeDict(kvs)
		if err != nil {
			r.Errorf("deviceKVSData: %v", err)
		}
		if got := d["ProductVersion"]; got != r.phone.Identity.Version {
			r.Errorf("ProductVersion = %v, want %s", got, r.phone.Identity.Version)
		}
		if _, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP}); !errors.Is(err,
			ErrNotVerified) {
			r.Errorf("listener before pairing: %v", err)
		}
		rec, err := c.Pair(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if asked.HostName != "my mac" {
			r.Errorf("the dialog is for %q, want my mac", asked.HostName)
		}
		if shown != 1 {
			r.Errorf("OnConsent is called %d times, want once", shown)
		}
		wantRecord := *rec
		wantRecord.PeerUDID, wantRecord.PeerModel, wantRecord.PeerName = i.UDID, i.Model, i.Name
		wantRecord.PeerIdentifier = r.dev.Peers.Identifier()
		wantRecord.HostIdentifier = r.host.Identifier
		if !reflect.DeepEqual(*rec, wantRecord) {
			r.Errorf("record %+v\nwant %+v", rec, wantRecord)
		}
		if n := len(rec.RemoteUnlockHostKey); n != 44 {
			r.Errorf("the remote unlock key has %d characters, want 44", n)
		}
		wantMatch(r, rec, "x", r.dev.Peers.AuthTag("x"))
		peer, ok := r.dev.Peers.Peer(r.host.Identifier)
		if !ok {
			r.Error("the host is not trusted")
		}
		wantPeer := Peer{
			Identifier: r.host.Identifier, Name: "my mac", Model: "computer-model",
			PublicKey: r.host.public(), AltIRK: r.host.AltIRK,
		}
		if !reflect.DeepEqual(peer, wantPeer) {
			r.Errorf("peer %v, want %v", peer, wantPeer)
		}
		listen(r, c) // on the channel that the setup has opened
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
		if err != nil {
			r.Fatalf("CreateListener: %v", err)
		}
		if l.Port != 50000 {
			r.Fatalf("the listener has the port %d, want 50000", l.Port)
		}
		if len(l.Key) != listenerKeyLen {
			r.Fatalf("the listener has a key of %d bytes, want %d", len(l.Key), listenerKeyLen)
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
		if err != nil {
			r.Fatalf("QUIC: %v", err)
		}
		if l.Port != 1234 {
			r.Errorf("QUIC: port %d, want 1234", l.Port)
		}
		if string(l.DevicePublicKey) != "spki" {
			r.Errorf("QUIC: the device's key is %q, want spki", l.DevicePublicKey)
		}
		if got.Protocol != QUIC {
			r.Errorf("QUIC: the device got a request for %q", got.Protocol)
		}
		if string(got.Key) != "host's spki" {
			r.Errorf("QUIC: the device got the key %q, want that of the host", got.Key)
		}
		l, err = c.CreateListener(r.Context(),
			ListenerRequest{Protocol: TCP, Key: make([]byte, 64)})
		if err != nil {
			r.Fatalf("TCP: %v", err)
		}
		if len(got.Key) != 64 {
			r.Errorf("TCP: the device got a key of %d bytes, want 64", len(got.Key))
		}
		if !bytes.Equal(got.Key, l.Key) {
			r.Error("TCP: the device got another key than the listener has")
		}
		for _, q := range []ListenerRequest{
			{Protocol: QUIC}, {Protocol: "udp", Key: []byte("k")},
			{Protocol: TCP, Key: make([]byte, maxListenerKey+1)},
		} {
			l, err := c.CreateListener(r.Context(), q)
			if err == nil {
				r.Errorf("%v: CreateListener succeeds", q)
			}
			if l != nil {
				r.Errorf("%v: a listener is returned: %v", q, l)
			}
		}
		refuse = Refuse(CodeForgotten, "who are you")
		_, err = c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP})
		wantCode(r, "refused", err, nil, "", CodeForgotten)
		if errors.Is(err, errors.ErrUnsupported) {
			r.Errorf("refused: %v matches errors.ErrUnsupported", err)
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
		if err != nil {
			r.Errorf("CreateRemoteUnlockKey: %v", err)
		}
		if b, err := base64.StdEncoding.DecodeString(key); err != nil {
			r.Errorf("the remote unlock key is not base64: %v", err)
		} else if len(b) != 32 {
			r.Errorf("the remote unlock key has %d bytes, want 32", len(b))
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
		_, err := c.CreateListener(r.Context(), ListenerRequest{Protocol: TCP})
		e := wantCode(r, "listener", err, errors.ErrUnsupported, "", CodeUnsupported)
		if e.Domain != controlDomain {
			r.Errorf("listener: the domain of %v is %q, want %q", err, e.Domain, controlDomain)
		}
	})
}

func TestUnknownHost(t *testing.T) {
	bubble(t, func(r *rig) {
		c := r.connect(Options{})
		for range 2 { // the channel stays open
			wantCode(r, "verify of an unknown host", c.Verify(r.Context()), ErrNotPaired, "M4", 4)
		}
		if _, err := c.Pair(r.Context()); err != nil {
			r.Errorf("pair on the same channel: %v", err)
		}
	})
}

func TestForgedHost(t *testing.T) {
	bubble(t, func(r *rig) {
		r.pair()
		forged := NewIdentity("my mac", nil) // the same name with another key
		err := r.connect(Options{Identity: forged}).Verify(r.Context())
		wantCode(r, "verify with another key", err, ErrNotPaired, "", 2)
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
		err := c.Verify(r.Context())
		if !errors.Is(err, ErrAuthentication) {
			r.Errorf("verify with another device: %v, want %v", err, ErrAuthentication)
		}
		if errors.Is(err, ErrNotPaired) {
			r.Errorf("verify with another device: %v matches ErrNotPaired", err)
		}
		if _, err := c.CreateRemoteUnlockKey(r.Context()); !errors.Is(err, ErrNotVerified) {
			r.Errorf("request to another device: %v", err)
		}
	})
}

func TestWireVersions(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]int64{
		"ios17.2": 19, "ios17": 19, "ios18": 24, "ios26": 24, "ios27": 26,
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
	if a.Identifier() != b.Identifier() {
		t.Errorf("a phone that is made again has the identifier %q, want %q", b.Identifier(),
			a.Identifier())
	}
	if !a.id.PrivateKey.Equal(b.id.PrivateKey) {
		t.Error("a phone that is made again has another key")
	}
	q, _ := phone.New(phone.Options{LogRate: -1, Serial: 1})
	c := NewPeers(q)
	if c.Identifier() == a.Identifier() {
		t.Errorf("two phones have the identifier %q", c.Identifier())
	}
	if c.id.PrivateKey.Equal(a.id.PrivateKey) {
		t.Error("two phones have one key")
	}
}

// A call waits until the one before it has ended, or until its own context ends.
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
				if err != nil {
					r.Errorf("listener %d: %v", n, err)
				} else if int(l.Port) != n+1 {
					r.Errorf("listener %d: port %d, want %d", n, l.Port, n+1)
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
		c, err := Connect(ctx, host, Options{Identity: r.host})
		if c != nil {
			r.Error("silent device: a client is returned")
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("silent device: %v, want %v", err, context.DeadlineExceeded)
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
