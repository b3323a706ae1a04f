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
	if block == nil {
		t.Fatalf("not a PEM block: %q", text)
	} else if block.Type != "CERTIFICATE" {
		t.Fatalf("the PEM block has the type %q, want CERTIFICATE", block.Type)
	} else if len(rest) != 0 {
		t.Fatalf("%q follows the certificate", rest)
	} else if !bytes.HasSuffix(text, []byte("-----\n")) {
		t.Fatalf("no newline at the end of %q", text)
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
		if c.Version != 3 {
			t.Errorf("%s: version %d, want 3", name, c.Version)
		}
		if c.SerialNumber.Cmp(big.NewInt(1)) != 0 {
			t.Errorf("%s: serial number %v, want 1", name, c.SerialNumber)
		}
		if c.SignatureAlgorithm != x509.SHA256WithRSA {
			t.Errorf("%s: signed with %v, want %v", name, c.SignatureAlgorithm, x509.SHA256WithRSA)
		}
		empty := []byte{0x30, 0}
		if !bytes.Equal(c.RawSubject, empty) {
			t.Errorf("%s: the subject is not empty: % x", name, c.RawSubject)
		}
		if !bytes.Equal(c.RawIssuer, empty) {
			t.Errorf("%s: the issuer is not empty: % x", name, c.RawIssuer)
		}
		if !c.BasicConstraintsValid {
			t.Errorf("%s: the basic constraints are invalid", name)
		}
		if c.IsCA != (name == "root") {
			t.Errorf("%s: IsCA = %v, want %v", name, c.IsCA, name == "root")
		}
		if d := c.NotAfter.Sub(c.NotBefore); d < 10*365*24*time.Hour {
			t.Errorf("%s: valid for %v, want ten years at least", name, d)
		} else if time.Since(c.NotBefore) < 30*time.Second {
			t.Errorf("%s: valid from %v, want an earlier time", name, c.NotBefore)
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
		if block == nil {
			t.Fatalf("the %s key is not PEM", name)
		} else if block.Type != "PRIVATE KEY" {
			t.Fatalf("the %s key has the type %q, want PRIVATE KEY", name, block.Type)
		}
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
			t.Error(err)
		}
	}
	if c, err := r.Certificate(); err != nil {
		t.Errorf("Certificate: %v", err)
	} else if !bytes.Equal(c.Certificate[0], host.Raw) {
		t.Error("Certificate is not the host's")
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	r, err := Generate(context.Background(), Params{DevicePublicKey: devicePEM(), SystemBUID: "B"})
	if err != nil {
		t.Fatal(err)
	}
	if !isUUID(r.HostID) {
		t.Errorf("HostID = %q, want a UUID", r.HostID)
	}
	if r.SystemBUID != "B" {
		t.Errorf("SystemBUID = %q, want B", r.SystemBUID)
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
		if r, err := WithKeys(testKeys(), p); !errors.As(err, &e) {
			t.Errorf("%s: WithKeys = %v, want an Error", name, err)
		} else if r != nil {
			t.Errorf("%s: WithKeys returns %v with its error", name, r)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := Generate(ctx, testParams()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: Generate = %v, want %v", err, context.Canceled)
	} else if r != nil {
		t.Errorf("cancelled: Generate returns %v with its error", r)
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
		if !isUUID(u) {
			t.Fatalf("NewUUID = %s, which is not a UUID", u)
		}
		if seen[u] {
			t.Fatalf("NewUUID = %s a second time", u)
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
	if err != nil {
		t.Fatalf("Encode: %v", err)
	} else if !bytes.HasPrefix(b, []byte("<?xml")) {
		t.Fatalf("Encode = %.20q, want XML", b)
	}
	got, err := Parse(b)
	if err != nil {
		t.Errorf("Parse(Encode(r)): %v", err)
	} else if !reflect.DeepEqual(got, r) {
		t.Errorf("Parse(Encode(r)) = %#v, want %#v", got, r)
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
			if err != nil {
				t.Errorf("%s: Certificate: %v", name, err)
			} else if !bytes.Equal(c.Certificate[0], want.Certificate[0]) {
				t.Errorf("%s: Certificate is another one", name)
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
	if c, err := got.Certificate(); err != nil {
		t.Errorf("Certificate without a host key: %v", err)
	} else if !bytes.Equal(c.Certificate[0], der(r.RootCertificate)) {
		t.Error("Certificate without a host key is not the root certificate")
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
		if r, err := Parse(b); !errors.As(err, &e) {
			t.Errorf("%s: Parse = %v, want an Error", name, err)
		} else if r != nil {
			t.Errorf("%s: Parse returns %v with its error", name, r)
		}
	}
	for _, b := range []string{"", "junk", "<plist><array/></plist>", "<plist><dict>"} {
		if r, err := Parse([]byte(b)); err == nil {
			t.Errorf("Parse(%q) does not fail", b)
		} else if r != nil {
			t.Errorf("Parse(%q) returns %v with its error", b, r)
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
