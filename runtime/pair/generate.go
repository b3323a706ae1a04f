package pair

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	keyBits  = 2048
	validity = 10 * 365 * 24 * time.Hour
	// clockSkew is how long before the present the validity begins. A device whose
	// clock is slow would otherwise refuse the certificate as not yet valid.
	clockSkew = time.Minute
)

// Params are the values from which a pair record is made.
type Params struct {
	DevicePublicKey []byte // PEM, as the device sends it
	WiFiAddress     string // as the device sends it; may be empty
	HostID          string // "" means a new one
	SystemBUID      string // of this machine; required
}

// Keys are the private keys of a record. Generating them takes as long as a pairing, so
// a caller may generate them while it asks the device.
type Keys struct {
	host, root *rsa.PrivateKey
}

// NewKeys generates both keys in parallel.
func NewKeys(ctx context.Context) (*Keys, error) {
	k := &Keys{}
	var wg sync.WaitGroup
	var errs [2]error
	for i, dst := range []**rsa.PrivateKey{&k.host, &k.root} {
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() { *dst, errs[i] = rsa.GenerateKey(rand.Reader, keyBits) })
	}
	wg.Wait()
	if err := errors.Join(context.Cause(ctx), errs[0], errs[1]); err != nil {
		return nil, &Error{Op: "generate keys", Err: err}
	}
	return k, nil
}

// Generate makes a record with new keys.
func Generate(ctx context.Context, p Params) (*Record, error) {
	if _, err := parsePublicKey(p.DevicePublicKey); err != nil {
		return nil, &Error{Op: "generate", Subject: "DevicePublicKey", Err: err}
	}
	k, err := NewKeys(ctx)
	if err != nil {
		return nil, err
	}
	return WithKeys(k, p)
}

// WithKeys makes a record with existing keys. The certificates have the form of those
// of libimobiledevice and pymobiledevice3: version 3, serial number 1, no names,
// SHA-256, valid for ten years.
func WithKeys(k *Keys, p Params) (*Record, error) {
	device, err := parsePublicKey(p.DevicePublicKey)
	if err != nil {
		return nil, &Error{Op: "generate", Subject: "DevicePublicKey", Err: err}
	}
	if p.SystemBUID == "" {
		return nil, &Error{Op: "generate", Subject: "SystemBUID", Err: errMissing}
	}
	if p.HostID == "" {
		p.HostID = NewUUID()
	}
	r := &Record{HostID: p.HostID, SystemBUID: p.SystemBUID, WiFiMACAddress: p.WiFiAddress}
	now := time.Now().UTC()
	root := template(now)
	root.IsCA = true
	leaf := template(now)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	onDevice := template(now)
	onDevice.KeyUsage = leaf.KeyUsage
	id := sha1.Sum(x509.MarshalPKCS1PublicKey(device)) // the definition of the extension
	onDevice.SubjectKeyId = id[:]
	for _, c := range []struct {
		dst      *[]byte
		template *x509.Certificate
		key      *rsa.PublicKey
	}{
		{&r.RootCertificate, root, &k.root.PublicKey},
		{&r.HostCertificate, leaf, &k.host.PublicKey},
		{&r.DeviceCertificate, onDevice, device},
	} {
		der, err := x509.CreateCertificate(rand.Reader, c.template, root, c.key, k.root)
		if err != nil {
			return nil, &Error{Op: "generate", Err: err}
		}
		*c.dst = pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
	}
	r.HostPrivateKey, err = privatePEM(k.host)
	if err == nil {
		r.RootPrivateKey, err = privatePEM(k.root)
	}
	if err != nil {
		return nil, &Error{Op: "generate", Err: err}
	}
	return r, nil
}

func template(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(validity),
		SignatureAlgorithm:    x509.SHA256WithRSA,
		BasicConstraintsValid: true,
	}
}

func privatePEM(k *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der}), nil
}

// parsePublicKey parses a device's key. Devices send PKCS#1. The other form is
// accepted as well.
func parsePublicKey(b []byte) (*rsa.PublicKey, error) {
	if len(b) == 0 {
		return nil, errMissing
	}
	text, err := toPEM(b, pemPublicPKCS1)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block.Type == pemPublicPKCS1 {
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("is %T, want RSA", k)
	}
	return key, nil
}

// NewUUID returns a random UUID in upper case, which is the form of HostID and
// SystemBUID.
func NewUUID() string { return link.UUIDText(nil) }
