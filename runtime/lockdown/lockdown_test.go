package lockdown

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

const (
	hostID = "2DA6C6C5-5C0F-4D22-9D4F-6E2F4C8E1A10"
	buid   = "30142955-4440-4943-8082-051516A0B0C0"
)

// keys are the RSA keys of the test hosts, which are made once: the root and the host, and
// those of a host that the device does not know.
var keys = sync.OnceValue(func() (k [3]*rsa.PrivateKey) {
	for i := range k {
		var err error
		k[i], err = rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
	}
	return k
})

// certify makes a certificate as hosts do, with empty names and serial number 1.
func certify(tb testing.TB, pub *rsa.PublicKey, signer *rsa.PrivateKey, ca bool) []byte {
	tb.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(1700000000, 0),
		NotAfter:              time.Unix(2000000000, 0),
		BasicConstraintsValid: true, IsCA: ca,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl,
		&x509.Certificate{SerialNumber: big.NewInt(1)}, pub, signer)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// computer is a host with its pair record for one phone.
type computer struct {
	record   plist.Dict // with private keys, as stored
	id       Identity   // shows the host certificate
	rootID   Identity   // shows the root certificate, as libimobiledevice does
	stranger Identity   // right names, wrong certificate
}

func newComputer(tb testing.TB, p *phone.Phone) *computer {
	tb.Helper()
	root, host, other := keys()[0], keys()[1], keys()[2]
	block, _ := pem.Decode(p.Trust.PublicKeyPEM())
	pub, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	rootPEM := certify(tb, &root.PublicKey, root, true)
	hostPEM := certify(tb, &host.PublicKey, root, false)
	c := &computer{record: plist.Dict{
		"HostID": hostID, "SystemBUID": buid, "RootCertificate": rootPEM,
		"HostCertificate":   hostPEM,
		"DeviceCertificate": certify(tb, pub, root, false),
		"HostPrivateKey":    []byte("private"), "RootPrivateKey": []byte("private"),
	}}
	identity := func(cert []byte, key *rsa.PrivateKey) Identity {
		block, _ := pem.Decode(cert)
		return Identity{HostID: hostID, SystemBUID: buid,
			Certificate: tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
	}
	c.id, c.rootID = identity(hostPEM, host), identity(rootPEM, root)
	c.stranger = identity(certify(tb, &other.PublicKey, root, false), other)
	return c
}

// trust stores the computer in the phone without asking.
func (c *computer) trust(tb testing.TB, p *phone.Phone) trust.Host {
	tb.Helper()
	r := trust.PairRequest{HostID: hostID, SystemBUID: buid, Label: "test"}
	r.HostCertificate, _ = c.record.Data("HostCertificate")
	r.RootCertificate, _ = c.record.Data("RootCertificate")
	r.DeviceCertificate, _ = c.record.Data("DeviceCertificate")
	h, err := p.Trust.Pair(r)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// startAFC starts com.apple.afc at port 49231 and nothing else.
func startAFC(_ context.Context, name string, host *trust.Host, _ []byte) (Endpoint, error) {
	switch name {
	case "com.apple.afc":
		return Endpoint{Service: name, Port: 49231, TLS: host != nil}, nil
	case "com.apple.mobile.insecure_notification_proxy":
		return Endpoint{Service: name, Port: 49232}, nil
	case "broken":
		return Endpoint{}, errors.New("no memory")
	}
	return Endpoint{}, &Error{Op: "start", Subject: name, Code: ErrInvalidService}
}

// serve runs d on one end of a pipe. It returns the other end and a function that closes
// it, waits until Serve has returned, and returns the result of Serve.
func serve(tb testing.TB, d *Device) (net.Conn, func() error) {
	tb.Helper()
	a, b := linktest.Prompt()
	done := make(chan error, 1)
	go func() {
		done <- d.Serve(context.Background(), b)
		b.Close()
	}()
	end := sync.OnceValue(func() error {
		a.Close()
		return <-done
	})
	tb.Cleanup(func() { end() })
	return a, end
}

// dial is like serve, but returns a client on the connection.
func dial(tb testing.TB, d *Device) *Client {
	tb.Helper()
	c, _ := serve(tb, d)
	cl := New(c, Options{Label: "test"})
	tb.Cleanup(func() { cl.Close() })
	return cl
}

// never returns a device whose connections have no idle timeout.
func never(p *phone.Phone) *Device { return &Device{Phone: p, Start: startAFC, IdleTimeout: -1} }

// talk sends one request without changes and returns the answer.
func talk(tb testing.TB, c net.Conn, req plist.Dict) plist.Dict {
	tb.Helper()
	var reply plist.Dict
	if err := link.NewPlistConn(c).Call(context.Background(), req, &reply); err != nil {
		tb.Fatalf("%v: %v", req, err)
	}
	return reply
}

func wantReply(t *testing.T, req, got, want plist.Dict) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %v\nwant %v", req, got, want)
	}
}

func wantCode(t *testing.T, what string, err error, want Code) {
	t.Helper()
	var e *Error
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want the code %s", what, err, want)
	}
	if !errors.As(err, &e) {
		t.Errorf("%s = %v (%T), want an *Error", what, err, err)
	}
}

// The exchanges are those that docs/protocols/lockdown.md shows.
func TestTranscript(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	c, _ := serve(t, never(p))
	version := p.Identity.Version
	for _, x := range []struct{ req, want plist.Dict }{
		{plist.Dict{"Label": "ideviceinfo", "Request": "QueryType"},
			plist.Dict{"Request": "QueryType", "Type": "com.apple.mobile.lockdown"}},
		{plist.Dict{"Label": "ideviceinfo", "Key": "ProductVersion", "Request": "GetValue"},
			plist.Dict{"Key": "ProductVersion", "Request": "GetValue", "Value": version}},
		{plist.Dict{"Label": "x", "Key": "Nope", "Request": "GetValue"},
			plist.Dict{"Key": "Nope", "Request": "GetValue", "Error": "MissingValue"}},
		{plist.Dict{
			"Label": "usbmuxd", "Key": "UntrustedHostBUID", "Value": buid, "Request": "SetValue",
		},
			plist.Dict{"Key": "UntrustedHostBUID", "Value": buid, "Request": "SetValue"}},
		{plist.Dict{
			"Label": "usbmuxd", "Service": "com.apple.mobile.insecure_notification_proxy",
			"Request": "StartService",
		},
			plist.Dict{
				"Service": "com.apple.mobile.insecure_notification_proxy", "Port": int64(49232),
				"Request": "StartService",
			}},
		{plist.Dict{"Label": "x", "Request": "StartSession", "HostID": hostID, "SystemBUID": buid},
			plist.Dict{"Request": "StartSession", "Error": "InvalidHostID"}},
		// The connection is still in plain text and can be used.
		{plist.Dict{"Request": "GetValue", "Domain": "com.example.unknown"},
			plist.Dict{
				"Request": "GetValue", "Domain": "com.example.unknown", "Value": plist.Dict{},
			}},
		{plist.Dict{"Request": "Goodbye"}, plist.Dict{"Request": "Goodbye"}},
	} {
		wantReply(t, x.req, talk(t, c, x.req), x.want)
	}
}

// libimobiledevice accepts only XML that begins with its prolog.
func TestReplyBytes(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, never(phonetest.New(t, phone.Options{})))
	const ask = `<?xml version="1.0"?><plist><dict><key>Request</key><string>QueryType</string></dict></plist>`
	if _, err := c.Write(link.AppendFrame(nil, []byte(ask))); err != nil {
		t.Fatal(err)
	}
	b, err := link.ReadFrame(c, link.MaxLockdownFrame, nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Request</key><string>QueryType</string><key>Type</key><string>com.apple.mobile.lockdown</string></dict></plist>`
	if string(b) != want {
		t.Errorf("reply = %s\nwant %s", b, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	record := newComputer(t, p).record
	delete(record, "HostPrivateKey")
	delete(record, "RootPrivateKey")
	no := func(key string) plist.Dict {
		r := record.Clone()
		delete(r, key)
		return r
	}
	for _, x := range []struct {
		name string
		req  plist.Dict // without Request
		code Code
	}{
		{"GetValue", plist.Dict{"Key": "SerialNumber"}, ErrGetProhibited},
		{"GetValue", plist.Dict{"Domain": "com.apple.disk_usage", "Key": "Nope"}, ErrMissingValue},
		{"GetValue", plist.Dict{"Domain": "com.apple.disk_usage"}, ErrGetProhibited},
		{"GetValue", plist.Dict{"Key": int64(5)}, ErrInvalidRequest},
		{"SetValue", plist.Dict{"Value": "x"}, ErrMissingKey},
		{"SetValue", plist.Dict{"Key": "DeviceName"}, ErrMissingValue},
		{"SetValue", plist.Dict{"Key": "DeviceName", "Value": "x"}, ErrSetProhibited},
		{"RemoveValue", plist.Dict{"Key": "DeviceName"}, ErrSessionInactive},
		{"StartSession", plist.Dict{}, ErrMissingHostID},
		{"StartSession", plist.Dict{"HostID": ""}, ErrMissingHostID},
		{"StopSession", plist.Dict{"SessionID": "x"}, ErrSessionInactive},
		{"StartService", plist.Dict{}, ErrMissingService},
		{"StartService", plist.Dict{"Service": "com.apple.afc"}, ErrSessionInactive},
		{"Pair", plist.Dict{}, ErrMissingPairRecord},
		{"Pair", plist.Dict{"PairRecord": "no"}, ErrMissingPairRecord},
		{"Pair", plist.Dict{"PairRecord": plist.Dict{}}, ErrInvalidPairRecord},
		{"Pair", plist.Dict{"PairRecord": no("HostID")}, ErrInvalidPairRecord},
		{"Pair", plist.Dict{"PairRecord": no("SystemBUID")}, ErrInvalidPairRecord},
		{"Pair", plist.Dict{"PairRecord": no("HostCertificate")}, ErrInvalidPairRecord},
		{"Pair", plist.Dict{"PairRecord": no("DeviceCertificate")}, ErrInvalidPairRecord},
		{"ValidatePair", plist.Dict{}, ErrMissingPairRecord},
		{"ValidatePair", plist.Dict{"PairRecord": record}, ErrInvalidHostID},
		{"Unpair", plist.Dict{}, ErrMissingPairRecord},
		{"Unpair", plist.Dict{"PairRecord": plist.Dict{"HostID": hostID}}, ErrInvalidHostID},
		{"ResetPairing", plist.Dict{"FullReset": true}, ErrSessionInactive},
		{"EnterRecovery", plist.Dict{}, ErrSessionInactive},
		{"Activate", plist.Dict{}, ErrSessionInactive},
		{"Deactivate", plist.Dict{}, ErrSessionInactive},
		{"CUPairingCreate", plist.Dict{}, ErrInvalidRequest},
	} {
		c, end := serve(t, never(p))
		x.req["Request"] = x.name
		want := plist.Dict{"Request": x.name, "Error": string(x.code)}
		for _, k := range []string{"Domain", "Key", "Service"} {
			if s, ok := x.req.String(k); ok {
				want[k] = s
			}
		}
		wantReply(t, x.req, talk(t, c, x.req), want)
		// A refusal leaves the connection as it was.
		ask := plist.Dict{"Request": "QueryType"}
		wantReply(t, ask, talk(t, c, ask), plist.Dict{"Request": "QueryType", "Type": DeviceType})
		if err := end(); err != nil {
			t.Errorf("%s: Serve = %v", x.name, err)
		}
	}
}

// A request without a Request key is answered, too.
func TestNamelessRequest(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, never(phonetest.New(t, phone.Options{})))
	for _, req := range []plist.Dict{{}, {"Label": "x"}, {"Request": int64(1)}, {"Request": ""}} {
		wantReply(t, req, talk(t, c, req), plist.Dict{"Error": "InvalidRequest"})
	}
}

func TestTolerance(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	c, _ := serve(t, never(p))
	name := plist.Dict{"Request": "GetValue", "Key": "DeviceName", "Value": p.Values.Name()}
	for _, x := range []struct {
		what string
		req  plist.Dict
		form plist.Format
	}{
		{"no label", plist.Dict{"Request": "GetValue", "Key": "DeviceName"}, plist.XML},
		{
			"label of another type",
			plist.Dict{"Request": "GetValue", "Key": "DeviceName", "Label": int64(1)}, plist.XML,
		},
		{
			"binary", plist.Dict{"Request": "GetValue", "Key": "DeviceName", "Label": "x"},
			plist.Binary,
		},
		{
			"empty domain", plist.Dict{"Request": "GetValue", "Key": "DeviceName", "Domain": ""},
			plist.XML,
		},
		{"unknown keys", plist.Dict{
			"Request": "GetValue", "Key": "DeviceName", "ProgName": "tidevice",
			"ProtocolVersion": int64(2),
		}, plist.XML},
	} {
		var got plist.Dict
		pc := &link.PlistConn{Conn: c, Format: x.form}
		if err := pc.Call(context.Background(), x.req, &got); err != nil {
			t.Fatalf("%s: %v", x.what, err)
		}
		wantReply(t, x.req, got, name)
	}

	// Each byte is a write of its own.
	body, err := plist.Encode(plist.Dict{"Request": "GetValue", "Key": "DeviceName", "Domain": ""},
		plist.XML)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range link.AppendFrame(nil, body) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := link.NewPlistConn(c).RecvDict(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	wantReply(t, name, got, name)

	// An empty Key stands for the whole domain.
	all := talk(t, c, plist.Dict{"Request": "GetValue", "Key": "", "Domain": ""})
	d, ok := all.Dict("Value")
	if !ok {
		t.Errorf("GetValue with empty names = %v, want a dictionary", all)
	}
	if d["DeviceName"] != p.Values.Name() {
		t.Errorf("DeviceName = %v among all values, want %v", d["DeviceName"], p.Values.Name())
	}
	if all["Key"] != nil {
		t.Errorf("GetValue with empty names answers the key %v", all["Key"])
	}
	if all["Domain"] != nil {
		t.Errorf("GetValue with empty names answers the domain %v", all["Domain"])
	}
}

func TestUnpairedView(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	cl := dial(t, never(p))
	ctx := t.Context()
	all, err := cl.Domain(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{
		"ProductVersion", "ProductType", "DeviceClass", "WiFiAddress", "UniqueDeviceID",
		"UniqueChipID", "DevicePublicKey",
	} {
		v, err := cl.Get(ctx, "", k)
		if err != nil {
			t.Errorf("Get(%s) = %v", k, err)
			continue
		}
		if k == "DevicePublicKey" {
			if _, there := all[k]; there {
				t.Error("DevicePublicKey is among all values")
			} else if !reflect.DeepEqual(v, p.Trust.PublicKeyPEM()) {
				t.Errorf("DevicePublicKey = %s, want %s", v, p.Trust.PublicKeyPEM())
			}
		} else if !reflect.DeepEqual(all[k], v) {
			t.Errorf("%s = %v, among all values %v", k, v, all[k])
		}
	}
	if _, there := all["SerialNumber"]; there {
		t.Error("unpaired host sees SerialNumber")
	}
	_, err = cl.Get(ctx, "", "SerialNumber")
	wantCode(t, "Get(SerialNumber)", err, ErrGetProhibited)
}

// In a tunnel, the trusted service of lockdownd gives the rights of a session without
// StartSession.
func TestTrustedConnection(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	d := never(p)
	d.Trusted = true
	cl := dial(t, d)
	if v, err := cl.Get(t.Context(), "", "SerialNumber"); err != nil {
		t.Errorf("Get(SerialNumber): %v", err)
	} else if v == "" {
		t.Error("Get(SerialNumber) is empty")
	}
	wantCode(t, "StartSession", cl.StartSession(t.Context(), newComputer(t, p).id),
		ErrSessionActive)
}
