// Package pair makes, parses and stores pair records. A pair record holds the keys and
// certificates with which a host proves to lockdownd that the device's user tapped
// Trust.
//
// Any host can read the device's public key. The host makes three certificates around
// it and sends them without the private keys. When the user has agreed, the device
// answers with an escrow bag, and host and device both store the record:
//
//	> {Request: GetValue, Key: DevicePublicKey}      < PKCS#1 PEM
//	> {Request: GetValue, Key: WiFiAddress}          < "aa:bb:cc:dd:ee:ff"
//	  WithKeys: Root signs itself, Host and Device
//	> {Request: Pair, PairRecord: {DeviceCertificate, HostCertificate, RootCertificate, HostID, SystemBUID}}
//	< {Error: PairingDialogResponsePending}          until the user taps
//	> the same again
//	< {EscrowBag: 32 bytes}
//	  the record, now with private keys and bag, goes to the multiplexer or a Dir
//
// This package does everything except the communication. The form of the record is the
// same for every iOS version. The tunnels of iOS 17 use another pairing.
package pair

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// Record is a pair record as a host stores it. Certificates and keys are PEM text. No
// format verb and no logger prints the keys or the escrow bag of a Record.
type Record struct {
	DeviceCertificate []byte `plist:"DeviceCertificate,omitempty"`
	HostCertificate   []byte `plist:"HostCertificate,omitempty"`
	RootCertificate   []byte `plist:"RootCertificate,omitempty"`
	HostPrivateKey    []byte `plist:"HostPrivateKey,omitempty"`
	RootPrivateKey    []byte `plist:"RootPrivateKey,omitempty"` // may be missing
	HostID            string `plist:"HostID,omitempty"`
	SystemBUID        string `plist:"SystemBUID,omitempty"`
	WiFiMACAddress    string `plist:"WiFiMACAddress,omitempty"`
	EscrowBag         []byte `plist:"EscrowBag,omitempty"`
	DevicePublicKey   []byte `plist:"DevicePublicKey,omitempty"` // of idevice and tidevice
	UDID              string `plist:"UDID,omitempty"`            // of idevice

	// Extra holds the keys that have no field here, so that a record of another program
	// can be read and written without loss.
	Extra plist.Dict `plist:"-"`
}

// Error describes an operation on a pair record and why it failed.
type Error struct {
	Op      string // parse, encode, generate, load, save, ...
	Subject string // key in the record, or the record's id
	Err     error
}

func (e *Error) Error() string {
	if e.Subject == "" {
		return "pair: " + e.Op + ": " + e.Err.Error()
	}
	return "pair: " + e.Op + " " + e.Subject + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// field connects a key of the property list with a field of a Record.
type field struct {
	key  string
	text *string
	blob *[]byte
	pem  string // PEM type; "" means opaque bytes
}

const (
	pemCertificate = "CERTIFICATE"
	pemPKCS8       = "PRIVATE KEY"
	pemPKCS1       = "RSA PRIVATE KEY"
	pemPublicPKCS1 = "RSA PUBLIC KEY"
	pemPublic      = "PUBLIC KEY"
)

func (r *Record) fields() []field {
	return []field{
		{key: "DeviceCertificate", blob: &r.DeviceCertificate, pem: pemCertificate},
		{key: "HostCertificate", blob: &r.HostCertificate, pem: pemCertificate},
		{key: "RootCertificate", blob: &r.RootCertificate, pem: pemCertificate},
		{key: "HostPrivateKey", blob: &r.HostPrivateKey, pem: pemPKCS8},
		{key: "RootPrivateKey", blob: &r.RootPrivateKey, pem: pemPKCS8},
		{key: "DevicePublicKey", blob: &r.DevicePublicKey, pem: pemPublicPKCS1},
		{key: "EscrowBag", blob: &r.EscrowBag},
		{key: "HostID", text: &r.HostID},
		{key: "SystemBUID", text: &r.SystemBUID},
		{key: "WiFiMACAddress", text: &r.WiFiMACAddress},
		{key: "UDID", text: &r.UDID},
	}
}

// Parse parses a pair record of any program. It may be an XML or a binary property
// list, with certificates and keys as PEM (the usual form), DER or bare base64. A
// record must have a HostID, and a certificate with its private key. Everything else
// may be missing.
func Parse(b []byte) (*Record, error) {
	d, err := plist.DecodeDict(b)
	if err != nil {
		return nil, &Error{Op: "parse", Err: err}
	}
	r := &Record{}
	for _, f := range r.fields() {
		v, ok := d[f.key]
		if !ok {
			continue
		}
		if err := f.set(v); err != nil {
			return nil, &Error{Op: "parse", Subject: f.key, Err: err}
		}
		delete(d, f.key)
	}
	if len(d) > 0 {
		r.Extra = d
	}
	if r.HostID == "" {
		return nil, &Error{Op: "parse", Subject: "HostID", Err: errMissing}
	}
	if _, err := r.Certificate(); err != nil {
		return nil, &Error{Op: "parse", Err: errors.Unwrap(err)}
	}
	return r, nil
}

var errMissing = errors.New("missing")

func (f field) set(v any) error {
	if f.text != nil {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("is %s, want a string", plist.TypeName(v))
		}
		*f.text = s
		return nil
	}
	var b []byte
	switch t := v.(type) {
	case []byte:
		b = t
	case string:
		b = []byte(t)
	default:
		return fmt.Errorf("is %s, want data", plist.TypeName(v))
	}
	if f.pem == "" {
		*f.blob = b
		return nil
	}
	text, err := toPEM(b, f.pem)
	*f.blob = text
	return err
}

// toPEM returns b as PEM text. PEM is returned unchanged. DER and base64 get a header,
// which for a private key depends on its content.
func toPEM(b []byte, kind string) ([]byte, error) {
	if len(b) == 0 {
		return nil, errors.New("empty")
	}
	if block, _ := pem.Decode(b); block != nil {
		return b, nil
	}
	der := b
	if b[0] != 0x30 || len(b) < 2 || b[1] < 0x80 {
		clean := strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\r\n", r) {
				return -1
			}
			return r
		}, string(b))
		var err error
		der, err = base64.StdEncoding.DecodeString(clean)
		if err != nil {
			return nil, errors.New("neither PEM nor DER nor base64")
		}
	}
	switch kind {
	case pemCertificate:
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, err
		}
	case pemPKCS8:
		if _, err := x509.ParsePKCS8PrivateKey(der); err != nil {
			if _, err := x509.ParsePKCS1PrivateKey(der); err != nil {
				return nil, errors.New("no private key of a known form")
			}
			kind = pemPKCS1
		}
	case pemPublicPKCS1:
		if _, err := x509.ParsePKCS1PublicKey(der); err != nil {
			if _, err := x509.ParsePKIXPublicKey(der); err != nil {
				return nil, errors.New("no public key of a known form")
			}
			kind = pemPublic
		}
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), nil
}

// Encode returns the record as an XML property list, which is the form that usbmuxd
// writes and its readers expect.
func (r *Record) Encode() ([]byte, error) {
	d := plist.Dict{}
	maps.Copy(d, r.Extra)
	for _, f := range r.fields() {
		if f.text != nil && *f.text != "" {
			d[f.key] = *f.text
		}
		if f.blob != nil && len(*f.blob) > 0 {
			d[f.key] = *f.blob
		}
	}
	b, err := plist.Encode(d, plist.XML)
	if err != nil {
		return nil, &Error{Op: "encode", Err: err}
	}
	return b, nil
}

// Public returns the part of the record that is sent to the device in Pair,
// ValidatePair and Unpair. It has no private key and no escrow bag.
func (r *Record) Public() plist.Dict {
	d := plist.Dict{}
	for _, f := range r.fields() {
		switch f.key {
		case "DeviceCertificate", "HostCertificate", "RootCertificate":
			if len(*f.blob) > 0 {
				d[f.key] = append([]byte{}, *f.blob...)
			}
		case "HostID", "SystemBUID":
			d[f.key] = *f.text
		}
	}
	return d
}

// Certificate returns the certificate that the host presents in TLS: its own, or the
// root's if the record has no host key.
func (r *Record) Certificate() (tls.Certificate, error) {
	cert, key, what := r.HostCertificate, r.HostPrivateKey, "HostCertificate"
	if len(cert) == 0 || len(key) == 0 {
		cert, key, what = r.RootCertificate, r.RootPrivateKey, "RootCertificate"
	}
	if len(cert) == 0 || len(key) == 0 {
		return tls.Certificate{}, &Error{
			Op: "read", Err: errors.New("no certificate with its private key"),
		}
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, &Error{Op: "read", Subject: what, Err: err}
	}
	return c, nil
}

// DeviceKey returns the public key of the paired device, from the DeviceCertificate. It
// is nil if the record has none, since not every program writes one.
func (r *Record) DeviceKey() (crypto.PublicKey, error) {
	if len(r.DeviceCertificate) == 0 {
		return nil, nil
	}
	der := r.DeviceCertificate
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &Error{Op: "read", Subject: "DeviceCertificate", Err: err}
	}
	return c.PublicKey, nil
}

// String identifies the record without its secrets.
func (r Record) String() string {
	return fmt.Sprintf("pair record (HostID %s, SystemBUID %s)", r.HostID, r.SystemBUID)
}

// Format prints String for every verb, so that no verb prints the keys.
func (r Record) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, r.String()) }

// LogValue returns the identifiers of the record.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(slog.String("host_id", r.HostID),
		slog.String("system_buid", r.SystemBUID))
}

// MarshalJSON encodes only the identifiers of the record, since JSON is used in logs
// and reports.
func (r Record) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"HostID":%q,"SystemBUID":%q}`, r.HostID, r.SystemBUID), nil
}

// Store stores the pair records of a host and its SystemBUID.
type Store interface {
	// Load returns a record. The error matches fs.ErrNotExist if there is none.
	Load(ctx context.Context, udid string) (*Record, error)
	Save(ctx context.Context, udid string, r *Record) error
	// Delete removes a record. The error matches fs.ErrNotExist if there is none.
	Delete(ctx context.Context, udid string) error
	// BUID returns the identity of the host, which is created on first use.
	BUID(ctx context.Context) (string, error)
}
