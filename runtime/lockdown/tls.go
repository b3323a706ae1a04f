package lockdown

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
)

// Identity is the identity of a host towards one device, from the pair record.
type Identity struct {
	HostID, SystemBUID string
	// Certificate is the HostCertificate with its key. Devices also accept the
	// RootCertificate.
	Certificate tls.Certificate
	// DeviceKey is the public key of the device, from the DeviceCertificate of the
	// record. A device with another key is refused with ErrWrongKey. If DeviceKey is
	// nil, any device is accepted.
	DeviceKey crypto.PublicKey
	// MaxVersion is the highest TLS version to offer; 0 means the newest. Devices
	// before iOS 10 refuse an offer above tls.VersionTLS10.
	MaxVersion uint16
}

// cipherSuites returns all suites of crypto/tls. RSA key exchange and CBC are off by
// default, but old devices and hosts built on GnuTLS support nothing else.
func cipherSuites() []uint16 {
	var ids []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, s.ID)
	}
	return ids
}

// checkDevice compares the device's key with the one that was paired.
func (id Identity) checkDevice(state tls.ConnectionState) error {
	if id.DeviceKey == nil {
		return nil
	}
	key, ok := id.DeviceKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || len(state.PeerCertificates) == 0 || !key.Equal(state.PeerCertificates[0].PublicKey) {
		return ErrWrongKey
	}
	return nil
}

// clientTLS returns the configuration of the host. The device's certificate has no
// names and no authority, because the host made it when it paired. Only its key is
// checked.
func clientTLS(id Identity, handshakeOnly bool) *tls.Config {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{id.Certificate},
		// By default certificates are selected by the authorities that the device
		// names, which are empty or invalid.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &id.Certificate, nil
		},
		InsecureSkipVerify: true,
		VerifyConnection:   id.checkDevice,
		MinVersion:         tls.VersionTLS10,
		MaxVersion:         id.MaxVersion,
		CipherSuites:       cipherSuites(),
	}
	// A TLS 1.3 server sends tickets after the handshake, where the client expects
	// plain text.
	if handshakeOnly && (cfg.MaxVersion == 0 || cfg.MaxVersion > tls.VersionTLS12) {
		cfg.MaxVersion = tls.VersionTLS12
	}
	return cfg
}

// ServiceTLS performs the host's handshake on a connection to an Endpoint with TLS. If
// handshakeOnly is true, TLS ends after the handshake, and the returned connection
// carries plain text, as a few developer services require. On error c is closed.
func ServiceTLS(
	ctx context.Context, c net.Conn, id Identity, handshakeOnly bool,
) (net.Conn, error) {
	t, err := link.ClientTLS(ctx, c, clientTLS(id, handshakeOnly))
	if err != nil {
		return nil, &Error{Op: "service handshake", Subject: id.HostID, Err: handshakeError(err)}
	}
	if handshakeOnly {
		return t.Raw(), nil
	}
	return t, nil
}

// handshakeError returns ErrWrongKey, or an ErrTLS with the error of crypto/tls.
func handshakeError(err error) error {
	if errors.Is(err, ErrWrongKey) {
		return ErrWrongKey
	}
	return fmt.Errorf("%w: %w", ErrTLS, err)
}
