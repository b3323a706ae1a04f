package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/link"
)

// errRedirects means that a server redirects more often than the option redirects allows.
var errRedirects = errors.New("too many redirects")

var errLate = errors.New("not finished in time")

// failed returns the error of a request for the script. what names the request.
func failed(what string, err error) error {
	var coded *host.Error
	var inner *url.Error
	if err == nil || errors.As(err, &coded) {
		if coded != nil {
			return coded
		}
		return nil
	}
	if errors.As(err, &inner) {
		err = inner.Err // what has the method and the URL already
	}
	code, hint := codeOf(err)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errLate
	}
	e := host.Errorf(code, "http: %s: %v", what, err)
	e.Hint, e.Cause = hint, err
	return e
}

func codeOf(err error) (code, hint string) {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout", "raise the option timeout"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no_host", ""
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout", ""
	case link.Is(err, syscall.ECONNREFUSED):
		return "refused", "is the server running, and does it use this port?"
	case link.Is(err, syscall.EADDRINUSE):
		return "address_in_use", "another program listens there; port 0 takes a free one"
	case link.Unreachable(err):
		return "unreachable", ""
	case errors.Is(err, http.ErrSchemeMismatch):
		return "tls", "does the address begin with http:// instead of https://?"
	case isTLS(err):
		return "tls", "the option ca names a certificate to trust, insecure accepts any"
	case errors.Is(err, errRedirects):
		return "redirects", "raise the option redirects, or set it to 0 to get the first response"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), link.Disconnected(err):
		return "disconnected", ""
	case errors.Is(err, fs.ErrNotExist):
		return "not_found", ""
	case errors.Is(err, fs.ErrPermission):
		return "access_denied", ""
	}
	return "error", ""
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) ||
		errors.As(err, &authority) || errors.As(err, &name)
}
