package lockdown

import (
	"context"
	"crypto/tls"
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

// clientTLS is the host's configuration. The device's certificate is not
// verified: the host made it itself, with empty names, and no program does.
func clientTLS(id Identity, handshakeOnly bool) *tls.Config {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{id.Certificate},
		// Certificates would be matched against the authorities that the
		// device names, which are empty or nonsense.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.Certificate, nil },
		InsecureSkipVerify:   true,
		MinVersion:           tls.VersionTLS10,
		MaxVersion:           id.MaxVersion,
		CipherSuites:         cipherSuites(),
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
func ServiceTLS(ctx context.Context, c net.Conn, id Identity, handshakeOnly bool) (net.Conn, error) {
	t, err := link.ClientTLS(ctx, c, clientTLS(id, handshakeOnly))
	if err != nil {
		return nil, &Error{Op: "service handshake", Subject: id.HostID, Err: fmt.Errorf("%w: %w", ErrTLS, err)}
	}
	if handshakeOnly {
		return t.Raw(), nil
	}
	return t, nil
}
