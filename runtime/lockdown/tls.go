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

// Identity is who a host is to one device, taken from its pair record.
type Identity struct {
	HostID, SystemBUID string
	// Certificate is the HostCertificate with its key. Devices accept the
	// RootCertificate as well.
	Certificate tls.Certificate
	// DeviceKey is the public key of the device, that of the record's
	// DeviceCertificate. A device with another one is refused with ErrWrongKey.
	// If it is nil, any device is accepted.
	DeviceKey crypto.PublicKey
	// MaxVersion bounds the TLS version offered; 0 is the newest known.
	// Devices before iOS 10 expect an offer of nothing above
	// tls.VersionTLS10.
	MaxVersion uint16
}

// cipherSuites is everything crypto/tls knows: RSA key exchange and CBC are
// off by default, but old devices and hosts built on GnuTLS know nothing else.
func cipherSuites() []uint16 {
	var ids []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, s.ID)
	}
	return ids
}

// checkDevice compares the key of the device with the one that was paired.
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

// clientTLS is the host's configuration. The device's certificate has no names and
// no authority: the host made it itself when it paired. Its key is what counts.
func clientTLS(id Identity, handshakeOnly bool) *tls.Config {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{id.Certificate},
		// Certificates would be matched against the authorities that the
		// device names, which are empty or nonsense.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &id.Certificate, nil
		},
		InsecureSkipVerify: true,
		VerifyConnection:   id.checkDevice,
		MinVersion:         tls.VersionTLS10,
		MaxVersion:         id.MaxVersion,
		CipherSuites:       cipherSuites(),
	}
	// A TLS 1.3 server sends tickets behind the handshake, where plain text
	// is expected already.
	if handshakeOnly && (cfg.MaxVersion == 0 || cfg.MaxVersion > tls.VersionTLS12) {
		cfg.MaxVersion = tls.VersionTLS12
	}
	return cfg
}

// ServiceTLS performs the host's handshake on a connection to an Endpoint with
// TLS. With handshakeOnly the session ends there, and the connection returned
// carries plain text, as a few developer services want. On error c is closed.
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

// handshakeError is ErrWrongKey or an ErrTLS with what crypto/tls said.
func handshakeError(err error) error {
	if errors.Is(err, ErrWrongKey) {
		return ErrWrongKey
	}
	return fmt.Errorf("%w: %w", ErrTLS, err)
}
