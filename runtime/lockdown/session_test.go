package lockdown

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// paired is a phone and a host that it trusts.
func paired(tb testing.TB) (*phone.Phone, *computer, trust.Host) {
	tb.Helper()
	p := phonetest.New(tb, phone.Options{})
	h := newComputer(tb, p)
	return p, h, h.trust(tb, p)
}

// session is like dial, but also starts a session.
func session(tb testing.TB, d *Device, id Identity) *Client {
	tb.Helper()
	cl := dial(tb, d)
	if err := cl.StartSession(context.Background(), id); err != nil {
		tb.Fatal(err)
	}
	return cl
}

func TestSession(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	ctx := t.Context()
	cl := session(t, never(p), h.id)

	all, err := cl.Domain(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	serial, err := cl.Get(ctx, "", "SerialNumber")
	if err != nil {
		t.Errorf("Get(SerialNumber): %v", err)
	} else if serial != all["SerialNumber"] {
		t.Errorf("SerialNumber = %v, but %v among all values", serial, all["SerialNumber"])
	} else if serial == "" {
		t.Error("SerialNumber is empty")
	}
	if v, err := cl.Get(ctx, "com.apple.disk_usage", "TotalDiskCapacity"); err != nil {
		t.Errorf("Get(TotalDiskCapacity): %v", err)
	} else if v.(int64) <= 0 {
		t.Errorf("TotalDiskCapacity = %v, want a positive number", v)
	}
	if d, err := cl.Domain(ctx, "com.example.unknown"); err != nil {
		t.Errorf("Domain of an unknown name: %v", err)
	} else if len(d) != 0 {
		t.Errorf("Domain of an unknown name = %v", d)
	}

	if err := cl.Set(ctx, "", "DeviceName", "Renamed"); err != nil {
		t.Error(err)
	}
	if p.Values.Name() != "Renamed" {
		t.Errorf("phone's name = %q", p.Values.Name())
	}
	wantCode(t, "Set(SerialNumber)", cl.Set(ctx, "", "SerialNumber", "x"), ErrImmutableValue)
	wantCode(t, "Set(DeviceName, 5)", cl.Set(ctx, "", "DeviceName", 5), ErrSetProhibited)
	wantCode(t, "Remove(SerialNumber)", cl.Remove(ctx, "", "SerialNumber"), ErrRemoveProhibited)
	wantCode(t, "Remove without a key", cl.Remove(ctx, "", ""), ErrMissingKey)

	e, err := cl.StartService(ctx, "com.apple.afc", nil)
	if want := (Endpoint{Service: "com.apple.afc", Port: 49231, TLS: true}); err != nil {
		t.Errorf("StartService: %v", err)
	} else if e != want {
		t.Errorf("StartService = %v, want %v", e, want)
	}
	_, err = cl.StartService(ctx, "com.example.none", nil)
	wantCode(t, "StartService(com.example.none)", err, ErrInvalidService)
	if got, want := err.Error(), `lockdown: StartService "com.example.none": InvalidService`; got != want {
		t.Errorf("text = %s, want %s", got, want)
	}
	_, err = cl.StartService(ctx, "broken", nil)
	wantCode(t, "StartService(broken)", err, ErrCheckinSetupFailed)

	wantCode(t, "second StartSession", cl.StartSession(ctx, h.id), ErrSessionActive)
	_, err = cl.Call(ctx, "Activate", nil)
	wantCode(t, "Activate", err, ErrMissingActivationRecord)
	_, err = cl.Call(ctx, "Activate", plist.Dict{"ActivationRecord": plist.Dict{}})
	wantCode(t, "Activate with a record", err, ErrInvalidActivationRecord)
	_, err = cl.Call(ctx, "StopSession", plist.Dict{})
	wantCode(t, "StopSession without ID", err, ErrMissingSessionID)
	_, err = cl.Call(ctx, "StopSession", plist.Dict{"SessionID": "other"})
	wantCode(t, "StopSession with another ID", err, ErrInvalidSessionID)
}

// Several sessions can follow each other on one connection, with plain text between them.
func TestStopSession(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	ctx := t.Context()
	cl := dial(t, never(p))
	wantCode(t, "StopSession without session", cl.StopSession(ctx), ErrSessionInactive)
	for i := range 5 {
		if err := cl.StartSession(ctx, h.id); err != nil {
			t.Fatalf("StartSession %d: %v", i, err)
		}
		if _, err := cl.Get(ctx, "", "SerialNumber"); err != nil {
			t.Fatalf("in session %d: %v", i, err)
		}
		if err := cl.StopSession(ctx); err != nil {
			t.Fatalf("StopSession %d: %v", i, err)
		}
		_, err := cl.Get(ctx, "", "SerialNumber")
		wantCode(t, "Get after StopSession", err, ErrGetProhibited)
		if v, err := cl.Get(ctx, "", "DeviceName"); err != nil {
			t.Fatalf("plain text %d: %v", i, err)
		} else if v != p.Values.Name() {
			t.Fatalf("plain text %d: DeviceName = %v, want %v", i, v, p.Values.Name())
		}
	}
}

// The test compares the frames of a session, including the answer to StopSession.
func TestSessionTranscript(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	c, end := serve(t, never(p))
	start := talk(t, c,
		plist.Dict{"Label": "x", "Request": "StartSession", "HostID": hostID, "SystemBUID": buid})
	id, _ := start.String("SessionID")
	if len(id) != 36 {
		t.Errorf("SessionID = %q has %d bytes, want 36", id, len(id))
	}
	if id != strings.ToUpper(id) {
		t.Errorf("SessionID = %q is not in upper case", id)
	}
	wantReply(t, start, start,
		plist.Dict{"Request": "StartSession", "SessionID": id, "EnableSessionSSL": true})
	tc, err := link.ClientTLS(t.Context(), c, clientTLS(h.id, false))
	if err != nil {
		t.Fatal(err)
	}
	req := plist.Dict{"Request": "StartService", "Service": "com.apple.afc"}
	wantReply(t, req, talk(t, tc, req), plist.Dict{
		"Request": "StartService", "Service": "com.apple.afc", "Port": int64(49231),
		"EnableServiceSSL": true,
	})
	req = plist.Dict{"Request": "StartService", "Service": "com.example.none"}
	wantReply(t, req, talk(t, tc, req), plist.Dict{
		"Request": "StartService", "Service": "com.example.none", "Error": "InvalidService",
	})
	req = plist.Dict{"Request": "StartSession", "HostID": hostID}
	wantReply(t, req, talk(t, tc, req),
		plist.Dict{"Request": "StartSession", "Error": "SessionActive"})
	req = plist.Dict{"Request": "StopSession", "SessionID": id}
	wantReply(t, req, talk(t, tc, req), plist.Dict{"Request": "StopSession", "Result": "Success"})
	// The session has ended, but the connection still uses TLS.
	req = plist.Dict{"Request": "GetValue", "Key": "SerialNumber"}
	wantReply(t, req, talk(t, tc, req),
		plist.Dict{"Request": "GetValue", "Key": "SerialNumber", "Error": "GetProhibited"})

	// Plain text that arrives together with close_notify is not lost.
	req = plist.Dict{"Request": "QueryType"}
	body, err := plist.Encode(req, plist.XML)
	if err != nil {
		t.Fatal(err)
	}
	if err := tc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.SetWriteDeadline(time.Time{}) // CloseWrite left one behind
	if _, err := c.Write(link.AppendFrame(nil, body)); err != nil {
		t.Fatal(err)
	}
	if _, err := tc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("device's end of TLS = %v, want EOF", err)
	}
	got, err := link.NewPlistConn(tc.Raw()).RecvDict(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantReply(t, req, got, plist.Dict{"Request": "QueryType", "Type": DeviceType})
	if err := end(); err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// Most hosts close the connection without close_notify.
func TestCloseInSession(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	c, end := serve(t, never(p))
	cl := New(c, Options{})
	if err := cl.StartSession(t.Context(), h.id); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	_, err := cl.QueryType(t.Context())
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("QueryType after close = %v", err)
	}
}

// legacy limits an identity as programs for old devices do.
func TestHandshake(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	with := func(change func(*tls.Config)) *tls.Config {
		cfg := clientTLS(h.id, false)
		change(cfg)
		return cfg
	}
	for _, x := range []struct {
		name    string
		cfg     *tls.Config
		version uint16
		suite   uint16 // 0 = any
	}{
		{"host certificate", clientTLS(h.id, false), tls.VersionTLS12, preferredSuite},
		{"root certificate", clientTLS(h.rootID, false), tls.VersionTLS12, preferredSuite},
		{
			"newest offered", with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = 0, 0 }),
			tls.VersionTLS12, preferredSuite,
		},
		{"defaults of crypto/tls", with(func(c *tls.Config) { c.CipherSuites = nil }),
			tls.VersionTLS12, preferredSuite},
		{"suites of a recent phone", with(func(c *tls.Config) {
			c.CipherSuites = []uint16{preferredSuite}
		}),
			tls.VersionTLS12, preferredSuite},
		{"AES-128 alone", with(func(c *tls.Config) {
			c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}),
			tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		{
			"TLS 1.0 alone", with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS10 }),
			tls.VersionTLS10, 0,
		},
		{"TLS 1.0 with RSA key exchange", with(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS10, []uint16{
				tls.TLS_RSA_WITH_AES_128_CBC_SHA,
			}
		}), tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		{
			"bogus server name", with(func(c *tls.Config) { c.ServerName = "iphone.localhost" }),
			tls.VersionTLS12, 0,
		},
	} {
		c, _ := serve(t, never(p))
		talk(t, c, plist.Dict{"Request": "StartSession", "HostID": hostID})
		tc, err := link.ClientTLS(t.Context(), c, x.cfg)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		st := tc.ConnectionState()
		if st.Version != x.version {
			t.Errorf("%s: %s, want %s", x.name, tls.VersionName(st.Version),
				tls.VersionName(x.version))
		}
		if x.suite != 0 && st.CipherSuite != x.suite {
			t.Errorf("%s: %s, want %s", x.name, tls.CipherSuiteName(st.CipherSuite),
				tls.CipherSuiteName(x.suite))
		}
		want := certificateDER(h.record["DeviceCertificate"].([]byte))
		if n := len(st.PeerCertificates); n != 1 {
			t.Errorf("%s: %d certificates, want 1", x.name, n)
		} else if !reflect.DeepEqual(st.PeerCertificates[0].Raw, want) {
			t.Errorf("%s: the certificate is not the host's DeviceCertificate", x.name)
		}
		req := plist.Dict{"Request": "QueryType"}
		wantReply(t, req, talk(t, tc, req), plist.Dict{"Request": "QueryType", "Type": DeviceType})
	}
}

// TestWeakSuites offers suites that devices do not have.
func TestWeakSuites(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	for _, suite := range []uint16{
		tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA,
		tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
	} {
		c, _ := serve(t, never(p))
		talk(t, c, plist.Dict{"Request": "StartSession", "HostID": hostID})
		cfg := clientTLS(h.id, false)
		cfg.CipherSuites, cfg.MaxVersion = []uint16{suite}, tls.VersionTLS12
		if _, err := link.ClientTLS(t.Context(), c, cfg); err == nil {
			t.Errorf("%s: the handshake succeeds", tls.CipherSuiteName(suite))
		}
	}
}

// answeredFirst notes whether the notification of a change was posted before the answer was
// written.
type answeredFirst struct {
	net.Conn
	heard   *notifications.Observer
	written chan []string
}

func (c *answeredFirst) Write(b []byte) (int, error) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var names []string
	for {
		name, err := c.heard.Next(ended)
		if err != nil {
			break
		}
		names = append(names, name)
	}
	c.written <- names
	return c.Conn.Write(b)
}

// TestChangeIsAnsweredFirst checks that what follows from a change happens after the answer,
// also if the host does not wait for the answer.
func TestChangeIsAnsweredFirst(t *testing.T) {
	t.Parallel()
	p, _, _ := paired(t)
	o := p.Notifications.Observe()
	defer o.Close()
	o.Add(notifications.DeviceName)
	d := never(p)
	d.Trusted = true
	for _, req := range []plist.Dict{
		{"Request": "SetValue", "Key": "DeviceName", "Value": "Blue"},
		{"Request": "RemoveValue", "Key": "DeviceName"},
	} {
		a, b := linktest.Prompt()
		served := make(chan error, 1)
		c := &answeredFirst{b, o, make(chan []string, 1)}
		go func() { served <- d.Serve(t.Context(), c) }()
		conn := link.NewPlistConn(a)
		if err := conn.Send(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if names := <-c.written; len(names) > 0 {
			t.Errorf("%v: posted %v before the answer", req, names)
		}
		a.Close()
		if err := <-served; err != nil {
			t.Errorf("%v: Serve: %v", req, err)
		}
		if name, err := o.Next(t.Context()); err != nil {
			t.Errorf("%v: %v", req, err)
		} else if name != notifications.DeviceName {
			t.Errorf("%v: posted %s", req, name)
		}
	}
}

// A host may renew its certificate over the same key.
func TestSameKeyOtherCertificate(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	renewed := certify(t, &keys()[1].PublicKey, keys()[0], true)
	id := h.id
	id.Certificate.Certificate = [][]byte{certificateDER(renewed)}
	cl := session(t, never(p), id)
	if _, err := cl.Get(t.Context(), "", "SerialNumber"); err != nil {
		t.Error(err)
	}
}

func TestStrangerIsRefused(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	none := h.id
	none.Certificate = tls.Certificate{}
	for name, id := range map[string]Identity{
		"unknown certificate": h.stranger, "no certificate": none,
	} {
		c, end := serve(t, never(p))
		cl := New(c, Options{})
		err := cl.StartSession(t.Context(), id)
		if !errors.Is(err, ErrTLS) {
			t.Errorf("%s: StartSession = %v, want ErrTLS", name, err)
		}
		if name == "unknown certificate" && !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("%s: %v, want the device's alert", name, err)
		}
		if _, err := cl.QueryType(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: QueryType afterwards = %v, want net.ErrClosed", name, err)
		}
		if err := end(); !errors.Is(err, ErrTLS) {
			t.Errorf("%s: Serve = %v, want ErrTLS", name, err)
		}
	}
}

// A client that is limited to TLS 1.0 can connect to old devices, which have nothing newer.
func TestClientMaxVersion(t *testing.T) {
	t.Parallel()
	p, h, host := paired(t)
	for max, want := range map[uint16]uint16{
		0: tls.VersionTLS13, tls.VersionTLS12: tls.VersionTLS12, tls.VersionTLS10: tls.VersionTLS10,
	} {
		a, b := linktest.Pipe()
		offered := make(chan uint16, 1)
		go func() {
			defer b.Close()
			cfg, err := deviceTLS(p.Trust.Key(), host)
			if err != nil {
				offered <- 0
				return
			}
			cfg.MaxVersion = 0
			cfg.GetConfigForClient = func(i *tls.ClientHelloInfo) (*tls.Config, error) {
				offered <- i.SupportedVersions[0]
				return nil, nil
			}
			_, _ = link.ServerTLS(context.Background(), b, cfg)
		}()
		id := h.id
		id.MaxVersion = max
		if _, err := ServiceTLS(t.Context(), a, id, false); err != nil {
			t.Errorf("MaxVersion %s: %v", tls.VersionName(max), err)
		}
		if got := <-offered; got != want {
			t.Errorf("MaxVersion %s: offered %s, want %s", tls.VersionName(max),
				tls.VersionName(got), tls.VersionName(want))
		}
		a.Close()
	}
}

// The test covers both directions of the TLS of a service, and plain text immediately
// after a handshake that is not followed by TLS data. Neither side may read beyond it.
func TestServiceTLS(t *testing.T) {
	t.Parallel()
	p, h, host := paired(t)
	for _, gate := range []bool{false, true} {
		a, b := linktest.Pipe()
		served := make(chan error, 1)
		go func() {
			defer b.Close()
			t, err := DeviceTLS(context.Background(), b, p.Trust.Key(), host)
			if err != nil {
				served <- err
				return
			}
			c := net.Conn(t)
			if gate {
				c = t.Raw()
			}
			_, err = io.WriteString(c, "hello from the device")
			if err == nil {
				_, err = io.CopyN(c, c, 5)
			}
			served <- err
		}()
		c, err := ServiceTLS(t.Context(), a, h.id, gate)
		if err != nil {
			t.Fatalf("gate %v: %v", gate, err)
		}
		if _, err := io.WriteString(c, "12345"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 26)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Errorf("gate %v: %v", gate, err)
		} else if string(got) != "hello from the device12345" {
			t.Errorf("gate %v: read %q", gate, got)
		}
		if err := <-served; err != nil {
			t.Errorf("gate %v: device: %v", gate, err)
		}
		if _, encrypted := c.(*link.TLSConn); encrypted == gate {
			t.Errorf("gate %v: got %T", gate, c)
		}
		a.Close()
	}
}

func TestServiceTLSRefused(t *testing.T) {
	t.Parallel()
	p, h, host := paired(t)
	a, b := linktest.Pipe()
	served := make(chan error, 1)
	go func() {
		_, err := DeviceTLS(context.Background(), b, p.Trust.Key(), host)
		served <- err
	}()
	if c, err := ServiceTLS(t.Context(), a, h.stranger, true); !errors.Is(err, ErrTLS) {
		t.Errorf("ServiceTLS = %v, want %v", err, ErrTLS)
	} else if c != nil {
		t.Errorf("ServiceTLS returns %v with its error", c)
	}
	if err := <-served; !errors.Is(err, ErrTLS) {
		t.Errorf("DeviceTLS = %v, want ErrTLS", err)
	}
	// Without certificates the host cannot prove who it is.
	_, b = linktest.Pipe()
	if _, err := DeviceTLS(t.Context(), b, &rsa.PrivateKey{}, trust.Host{}); !errors.Is(err,
		ErrTLS) {
		t.Errorf("DeviceTLS without certificates = %v", err)
	}
}

func TestLockedPhone(t *testing.T) {
	t.Parallel()
	p, h, host := paired(t)
	ctx := t.Context()
	d := never(p)
	d.Start = func(ctx context.Context, name string, host *trust.Host, escrow []byte) (Endpoint,
		error) {
		if name == "com.apple.afc" && p.Screen.Locked() && len(escrow) == 0 {
			return Endpoint{}, ErrPasswordProtected
		}
		return startAFC(ctx, name, host, escrow)
	}
	cl := session(t, d, h.id)
	p.Screen.SetPasscode(true)
	p.Screen.Lock()
	start := func(what string, bag []byte, want Code) {
		t.Helper()
		e, err := cl.StartService(ctx, "com.apple.afc", bag)
		switch {
		case want != "":
			wantCode(t, what, err, want)
		case err != nil || e.Port != 49231:
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
	start("no bag", nil, ErrPasswordProtected)
	start("wrong bag", make([]byte, 32), ErrEscrowLocked)
	start("right bag", host.EscrowBag, "")
	if v, err := cl.Get(ctx, "", "PasswordProtected"); err != nil {
		t.Errorf("Get(PasswordProtected): %v", err)
	} else if v != true {
		t.Errorf("PasswordProtected = %v, want true", v)
	}
	p.Screen.Unlock()
	start("unlocked", nil, "")
	start("unlocked with any bag", make([]byte, 3), "")
	p.Boot() // a passcode locks it, and no bag helps before the first unlock
	start("after boot", host.EscrowBag, ErrEscrowLocked)

	// The notification proxy that reports the trust dialog also starts on a locked phone.
	plain := dial(t, never(p))
	if _, err := plain.StartService(ctx, "com.apple.mobile.insecure_notification_proxy",
		nil); err != nil {
		t.Error(err)
	}
}
