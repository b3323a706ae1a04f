package lockdown

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// DeviceTLS performs the device's handshake, for a session or on the connection of a
// service. The device presents the certificate that the host made for its key. The host
// must present its own or its root's certificate, as libimobiledevice does. Like real
// devices, DeviceTLS supports TLS 1.0 to 1.2 and prefers ECDHE-RSA-AES256-GCM-SHA384. A server
// of 1.3 would send tickets into the plain text of services that use TLS for the handshake
// only. On error c is closed.
func DeviceTLS(
	ctx context.Context, c net.Conn, key *rsa.PrivateKey, host trust.Host,
) (*link.TLSConn, error) {
	cfg, err := deviceTLS(key, host)
	if err != nil {
		c.Close()
		return nil, &Error{
			Op: "device handshake", Subject: host.HostID, Err: fmt.Errorf("%w: %w", ErrTLS, err),
		}
	}
	t, err := link.ServerTLS(ctx, c, cfg)
	if err != nil {
		return nil, &Error{
			Op: "device handshake", Subject: host.HostID, Err: fmt.Errorf("%w: %w", ErrTLS, err),
		}
	}
	return t, nil
}

// errStranger refuses a host because of the certificate that it presents. crypto/tls
// sends a bad_certificate alert.
var errStranger = errors.New("client certificate is neither the host's nor its root's")

func deviceTLS(key *rsa.PrivateKey, host trust.Host) (*tls.Config, error) {
	der := certificateDER(host.DeviceCertificate)
	if len(der) == 0 {
		return nil, errors.New("pairing has no device certificate")
	}
	known := [][]byte{certificateDER(host.HostCertificate), certificateDER(host.RootCertificate)}
	cfg := &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:             tls.VersionTLS10,
		MaxVersion:             tls.VersionTLS12,
		CipherSuites:           deviceSuites,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		// No chains are verified: names are empty or do not match. The certificates of
		// tidevice have version 1 and expire after 30 days.
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			return verifyHost(raw, known)
		},
	}
	strong := cfg.Clone()
	strong.CipherSuites = slices.DeleteFunc(slices.Clone(deviceSuites), func(id uint16) bool {
		return slices.Contains(weakerSuites, id)
	})
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.CipherSuites, preferredSuite) {
			return strong, nil
		}
		return nil, nil // the suites of cfg
	}
	return cfg, nil
}

// preferredSuite is the suite that devices choose if the host offers it.
const preferredSuite = tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384

// weakerSuites are left out for a host that offers preferredSuite, because crypto/tls has an
// order of its own in which they come first.
var weakerSuites = []uint16{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// deviceSuites are the suites of a device. Its key is an RSA key. Hosts that are built on
// GnuTLS offer TLS 1.0 with RSA key exchange and CBC alone. Devices have no RC4 and no 3DES.
var deviceSuites = []uint16{
	preferredSuite,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA,
}

// verifyHost accepts a leaf that equals one of the known certificates or has its key.
func verifyHost(raw, known [][]byte) error {
	if len(raw) == 0 {
		return errStranger
	}
	for _, k := range known {
		if len(k) > 0 && bytes.Equal(raw[0], k) {
			return nil
		}
	}
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return err
	}
	key, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return errStranger
	}
	for _, k := range known {
		c, err := x509.ParseCertificate(k)
		if err == nil && key.Equal(c.PublicKey) {
			return nil
		}
	}
	return errStranger
}

// certificateDER decodes a certificate in PEM; a few hosts send DER.
func certificateDER(b []byte) []byte {
	if block, _ := pem.Decode(b); block != nil {
		return block.Bytes
	}
	return b
}
