package pair

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// deviceKey and testKeys are made once: RSA keys are the slow part.
var (
	deviceKey = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
	testKeys = sync.OnceValue(func() *Keys {
		k, err := NewKeys(context.Background())
		if err != nil {
			panic(err)
		}
		return k
	})
)

func devicePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{
		Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&deviceKey().PublicKey),
	})
}

func testParams() Params {
	return Params{
		DevicePublicKey: devicePEM(), WiFiAddress: "aa:bb:cc:dd:ee:ff", HostID: "H",
		SystemBUID: "B",
	}
}

func testRecord(t testing.TB) *Record {
	t.Helper()
	r, err := WithKeys(testKeys(), testParams())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func certificate(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 ||
		!bytes.HasSuffix(text, []byte("-----\n")) {
		t.Fatalf("not one PEM certificate with a final newline: %q", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The shape is that of libimobiledevice and pymobiledevice3.
func TestCertificates(t *testing.T) {
	t.Parallel()
	r := testRecord(t)
	root, host, device := certificate(t,
		r.RootCertificate), certificate(t, r.HostCertificate), certificate(t, r.DeviceCertificate)
	for name, c := range map[string]*x509.Certificate{
		"root": root, "host": host, "device": device,
	} {
		if c.Version != 3 || c.SerialNumber.Cmp(big.NewInt(1)) != 0 ||
			c.SignatureAlgorithm != x509.SHA256WithRSA {
			t.Errorf("%s: version %d, serial %v, %v", name, c.Version, c.SerialNumber,
				c.SignatureAlgorithm)
		}
		empty := []byte{0x30, 0}
		if !bytes.Equal(c.RawSubject, empty) || !bytes.Equal(c.RawIssuer, empty) {
			t.Errorf("%s: names are not empty: % x, % x", name, c.RawSubject, c.RawIssuer)
		}
		if !c.BasicConstraintsValid || c.IsCA != (name == "root") {
			t.Errorf("%s: basic constraints %v, CA %v", name, c.BasicConstraintsValid, c.IsCA)
		}
		if d := c.NotAfter.Sub(c.NotBefore); d < 10*365*24*time.Hour ||
			time.Since(c.NotBefore) < 30*time.Second {
			t.Errorf("%s: valid from %v to %v", name, c.NotBefore, c.NotAfter)
		}
		if err := root.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate,
			c.Signature); err != nil {
			t.Errorf("%s is not signed by the root: %v", name, err)
		}
		usage := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		if name == "root" {
			usage = 0
		}
		if c.KeyUsage != usage {
			t.Errorf("%s: key usage %v", name, c.KeyUsage)
		}
		for _, e := range c.Extensions {
			basic := asn1.ObjectIdentifier{2, 5, 29, 19}
			if e.Id.Equal(basic) && !e.Critical {
				t.Errorf("%s: basic constraints are not critical", name)
			}
		}
	}
	if !device.PublicKey.(*rsa.PublicKey).Equal(&deviceKey().PublicKey) {
		t.Error("the device certificate holds another key")
	}
	id := sha1.Sum(x509.MarshalPKCS1PublicKey(&deviceKey().PublicKey))
	if !bytes.Equal(device.SubjectKeyId, id[:]) {
		t.Errorf("subject key id % x, want % x", device.SubjectKeyId, id)
	}
	if host.PublicKey.(*rsa.PublicKey).Equal(root.PublicKey) {
		t.Error("host and root share a key")
	}
	for name, text := range map[string][]byte{"host": r.HostPrivateKey, "root": r.RootPrivateKey} {
		block, _ := pem.Decode(text)
		if block == nil || block.Type != "PRIVATE KEY" {
			t.Fatalf("%s key is not PKCS#8", name)
		}
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			t.Error(err)
		}
	}
	if c, err := r.Certificate(); err != nil || !bytes.Equal(c.Certificate[0], host.Raw) {
		t.Errorf("Certificate is not the host's: %v", err)
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	r, err := Generate(context.Background(), Params{DevicePublicKey: devicePEM(), SystemBUID: "B"})
	if err != nil {
		t.Fatal(err)
	}
	if !isUUID(r.HostID) || r.SystemBUID != "B" {
		t.Errorf("record %v", r)
	}
	// The old devices' keys are shorter than Go likes.
	small := &rsa.PublicKey{
		N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1023), big.NewInt(297)), E: 65537,
	}
	p := testParams()
	p.DevicePublicKey = pem.EncodeToMemory(
		&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(small)},
	)
	if _, err := WithKeys(testKeys(), p); err != nil {
		t.Errorf("with a key of 1024 bits: %v", err)
	}
	pkix, _ := x509.MarshalPKIXPublicKey(&deviceKey().PublicKey)
	p.DevicePublicKey = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})
	if _, err := WithKeys(testKeys(), p); err != nil {
		t.Errorf("with a PKIX key: %v", err)
	}
}

func TestGenerateRefusals(t *testing.T) {
	t.Parallel()
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	pkix, _ := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	for name, change := range map[string]func(*Params){
		"no key":   func(p *Params) { p.DevicePublicKey = nil },
		"junk key": func(p *Params) { p.DevicePublicKey = []byte("junk!") },
		"junk in PEM": func(p *Params) {
			p.DevicePublicKey = pem.EncodeToMemory(
				&pem.Block{Type: "RSA PUBLIC KEY", Bytes: []byte("x")},
			)
		},
		"elliptic key": func(p *Params) {
			p.DevicePublicKey = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})
		},
		"no BUID": func(p *Params) { p.SystemBUID = "" },
	} {
		p := testParams()
		change(&p)
		var e *Error
		if r, err := WithKeys(testKeys(), p); !errors.As(err, &e) || r != nil {
			t.Errorf("%s: %v, %v; want an *Error alone", name, r, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := Generate(ctx, testParams()); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("cancelled: %v, %v", r, err)
	}
}

func isUUID(s string) bool {
	return len(s) == 36 && s == strings.ToUpper(s) && s[14] == '4' && strings.Count(s, "-") == 4 &&
		s[8] == '-' && s[23] == '-'
}

func TestNewUUID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		u := NewUUID()
		if !isUUID(u) || seen[u] {
			t.Fatalf("NewUUID = %s", u)
		}
		seen[u] = true
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	r := testRecord(t)
	r.EscrowBag = bytes.Repeat([]byte{0xEB}, 32)
	r.UDID = "00008030-001A35E40212345E"
	r.Extra = plist.Dict{"Colour": "red"}
	b, err := r.Encode()
	if err != nil || !bytes.HasPrefix(b, []byte("<?xml")) {
		t.Fatalf("Encode = %.20q, %v", b, err)
	}
	got, err := Parse(b)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("Parse(Encode(r)) = %#v, %v", got, err)
	}
	// All readers' needs together are these nine keys.
	d, _ := plist.DecodeDict(b)
	for _, key := range []string{
		"DeviceCertificate", "HostCertificate", "RootCertificate", "HostPrivateKey",
		"RootPrivateKey", "HostID", "SystemBUID", "WiFiMACAddress", "EscrowBag",
	} {
		if _, ok := d[key]; !ok {
			t.Errorf("no %s", key)
		}
	}
	again, _ := r.Encode()
	if !bytes.Equal(b, again) {
		t.Error("Encode is not deterministic")
	}
}

// variants of a record as other programs leave them. Each must give the same
// certificate to present.
func TestParseVariants(t *testing.T) {
	t.Parallel()
	r := testRecord(t)
	encoded, _ := r.Encode()
	want, _ := r.Certificate()
	der := func(text any) []byte { block, _ := pem.Decode(text.([]byte)); return block.Bytes }
	blobs := []string{
		"DeviceCertificate", "HostCertificate", "RootCertificate", "HostPrivateKey",
		"RootPrivateKey",
	}
	for name, change := range map[string]func(plist.Dict){
		"DER": func(d plist.Dict) {
			for _, k := range blobs {
				d[k] = der(d[k])
			}
		},
		"bare base64": func(d plist.Dict) {
			for _, k := range blobs {
				d[k] = []byte(base64.StdEncoding.EncodeToString(der(d[k])))
			}
		},
		"base64 in lines, as a string": func(d plist.Dict) {
			for _, k := range blobs {
				s := base64.StdEncoding.EncodeToString(der(d[k]))
				d[k] = s[:64] + "\r\n" + s[64:] + "\n"
			}
		},
		"PKCS#1 keys": func(d plist.Dict) {
			d["HostPrivateKey"] = pem.EncodeToMemory(&pem.Block{
				Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(testKeys().host),
			})
		},
		"PKCS#1 keys in DER": func(d plist.Dict) {
			d["HostPrivateKey"] = x509.MarshalPKCS1PrivateKey(testKeys().host)
		},
		"without root key": func(d plist.Dict) { delete(d, "RootPrivateKey") },
		"without the rest": func(d plist.Dict) {
			maps.DeleteFunc(d, func(k string, _ any) bool { return !strings.HasPrefix(k, "Host") })
		},
		"with its public key": func(d plist.Dict) {
			d["DevicePublicKey"] = devicePEM()
			d["UDID"] = "x"
		},
	} {
		for _, form := range []plist.Format{plist.XML, plist.Binary} {
			d, _ := plist.DecodeDict(encoded)
			change(d)
			b, err := plist.Encode(d, form)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Parse(b)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			c, err := got.Certificate()
			if err != nil || !bytes.Equal(c.Certificate[0], want.Certificate[0]) {
				t.Errorf("%s: another certificate, %v", name, err)
			}
			if len(got.DeviceCertificate) > 0 &&
				!bytes.Equal(got.DeviceCertificate, r.DeviceCertificate) {
				t.Errorf("%s: device certificate is not brought to PEM: %.60q", name,
					got.DeviceCertificate)
			}
		}
	}
	// No host key: the root's are what libimobiledevice presents anyway.
	d, _ := plist.DecodeDict(encoded)
	delete(d, "HostPrivateKey")
	b, _ := plist.Encode(d, plist.XML)
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := got.Certificate(); err != nil ||
		!bytes.Equal(c.Certificate[0], der(r.RootCertificate)) {
		t.Errorf("without host key: %v, want the root certificate", err)
	}
}

func TestParseRefusals(t *testing.T) {
	t.Parallel()
	encoded, _ := testRecord(t).Encode()
	for name, change := range map[string]func(plist.Dict){
		"no HostID":          func(d plist.Dict) { delete(d, "HostID") },
		"HostID a number":    func(d plist.Dict) { d["HostID"] = int64(1) },
		"certificate a bool": func(d plist.Dict) { d["HostCertificate"] = true },
		"junk certificate":   func(d plist.Dict) { d["HostCertificate"] = []byte("!!!") },
		"junk DER": func(d plist.Dict) {
			d["HostCertificate"] = []byte{0x30, 0x82, 1, 2, 3}
		},
		"junk key":    func(d plist.Dict) { d["HostPrivateKey"] = []byte{0x30, 0x82, 1, 2, 3} },
		"empty key":   func(d plist.Dict) { d["HostPrivateKey"] = []byte{} },
		"foreign key": func(d plist.Dict) { d["HostPrivateKey"] = d["RootPrivateKey"] },
		"no keys": func(d plist.Dict) {
			delete(d,
				"HostPrivateKey")
			delete(d, "RootPrivateKey")
		},
	} {
		d, _ := plist.DecodeDict(encoded)
		change(d)
		b, _ := plist.Encode(d, plist.XML)
		var e *Error
		if r, err := Parse(b); !errors.As(err, &e) || r != nil {
			t.Errorf("%s: %v, %v; want an *Error alone", name, r, err)
		}
	}
	for _, b := range []string{"", "junk", "<plist><array/></plist>", "<plist><dict>"} {
		if r, err := Parse([]byte(b)); err == nil || r != nil {
			t.Errorf("Parse(%q) = %v, %v", b, r, err)
		}
	}
}

func TestPublicHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	r := testRecord(t)
	r.EscrowBag = []byte("escrow")
	d := r.Public()
	want := []string{
		"DeviceCertificate", "HostCertificate", "HostID", "RootCertificate", "SystemBUID",
	}
	if got := slices.Sorted(maps.Keys(d)); !slices.Equal(got, want) {
		t.Errorf("Public has %v, want %v", got, want)
	}
	if _, err := plist.Encode(d, plist.XML); err != nil {
		t.Error(err)
	}
	d["HostCertificate"].([]byte)[0] = 'X'
	if r.HostCertificate[0] == 'X' {
		t.Error("Public shares memory with the record")
	}
}

// No way of printing a record shows a secret.
func TestPrintingHidesSecrets(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0"
	r := Record{
		HostID: "the-host", SystemBUID: "the-buid", HostPrivateKey: []byte(secret),
		RootPrivateKey: []byte(secret), EscrowBag: []byte(secret),
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%20s", "%t"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", r, &r, struct{ R *Record }{&r}.R)
		fmt.Fprintf(&out, verb+"\n", []Record{r})
		fmt.Fprintf(&out, verb+"\n", struct{ R Record }{r})
	}
	text := slog.New(slog.NewTextHandler(&out, nil))
	text.Info("x", "record", r, "pointer", &r)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "record", r, "pointer", &r, "list",
		[]*Record{&r})
	j, err := json.Marshal(map[string]any{"r": r, "p": &r})
	if err != nil {
		t.Error(err)
	}
	out.Write(j)
	for _, form := range []string{
		secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret),
		strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		base64.StdEncoding.EncodeToString([]byte(secret)),
		strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}"),
	} {
		if bytes.Contains(out.Bytes(), []byte(form)) {
			t.Errorf("a secret is printed as %s", form)
		}
	}
	if !strings.Contains(out.String(), "the-host") {
		t.Error("nothing is printed at all")
	}
}

func FuzzParse(f *testing.F) {
	b, _ := testRecord(f).Encode()
	f.Add(b)
	f.Add([]byte(
		"<plist><dict><key>HostID</key><string>x</string><key>HostCertificate</key><data>MIIB</data></dict></plist>",
	))
	f.Add([]byte("<plist><dict/></plist>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if (r == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v", r, err)
		}
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(again); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkWithKeys(b *testing.B) {
	p := testParams()
	k := testKeys()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := WithKeys(k, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewKeys(b *testing.B) {
	for b.Loop() {
		if _, err := NewKeys(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	enc, _ := testRecord(b).Encode()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(enc); err != nil {
			b.Fatal(err)
		}
	}
}
