package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// connectionOptions are the options of connections. Requests with the same options share
// connections.
type connectionOptions struct {
	ConnectTimeout *time.Duration `lua:"connect_timeout" doc:"seconds to connect" default:"10"`
	Insecure       bool           `lua:"insecure" doc:"accept any certificate"`
	CA             string         `lua:"ca" doc:"PEM file to trust" kind:"path" access:"read"`
	Cert           string         `lua:"cert" doc:"PEM file of the client" kind:"path" access:"read"`
	Key            string         `lua:"key" doc:"key of cert" kind:"path" access:"read"`
	Proxy          string         `lua:"proxy" doc:"URL of a proxy, or env for HTTPS_PROXY and such"`
}

// connection holds connectionOptions in a form that can be the key of a map.
type connection struct {
	timeout             time.Duration
	insecure            bool
	ca, cert, key       string
	proxy               string
	http, https, except string // proxies of the environment
}

const (
	connectTimeout = 10 * time.Second
	idleTime       = 60 * time.Second
	maxHeader      = 256 << 10 // bytes of the header of a response
	maxTransports  = 8         // one more replaces the oldest
	maxPEM         = 1 << 20
)

// key checks the options and the permission for the proxy.
func (o *connectionOptions) key(c *api.Call) (connection, error) {
	k := connection{
		timeout: connectTimeout, insecure: o.Insecure, ca: o.CA, cert: o.Cert, key: o.Key,
		proxy: o.Proxy,
	}
	if o.ConnectTimeout != nil {
		k.timeout = max(*o.ConnectTimeout, time.Nanosecond)
		if *o.ConnectTimeout == api.NoTimeout {
			k.timeout = 0
		}
	}
	if (o.Cert == "") != (o.Key == "") {
		return k, host.Errorf("argument", "http: options \"cert\" and \"key\" must be given together")
	}
	if o.Proxy == "env" {
		return k, k.environment(c)
	}
	if o.Proxy == "" {
		return k, nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" &&
		u.Scheme != "socks5" {
		e := host.Errorf("argument", "http: option \"proxy\": %q is not the URL of a proxy", o.Proxy)
		return k, e.WithHint("write http://host:port or socks5://host:port")
	}
	return k, c.Allow(host.AccessHost, hostPort(u))
}

// environment reads the proxies of the environment.
func (k *connection) environment(c *api.Call) error {
	for _, v := range []struct {
		to    *string
		names [2]string
	}{
		{&k.http, [2]string{"HTTP_PROXY", "http_proxy"}},
		{&k.https, [2]string{"HTTPS_PROXY", "https_proxy"}},
		{&k.except, [2]string{"NO_PROXY", "no_proxy"}},
	} {
		for _, name := range v.names {
			if err := c.Allow(host.AccessEnv, name); err != nil {
				return err
			}
			if text, ok := c.Host().Options().Env(name); ok && *v.to == "" {
				*v.to = text
			}
		}
	}
	return nil
}

// pool holds the connections of one interpreter.
type pool struct {
	mu         sync.Mutex
	transports map[connection]*http.Transport
	order      []connection
	registered bool // in a scope that closes the pool
}

// transport returns the transport for k. The outermost scope closes it at the end of the script.
func (p *pool) transport(ctx context.Context, scope *host.Scope, k connection) (
	*http.Transport, error,
) {
	p.mu.Lock()
	t, registered := p.transports[k], p.registered
	p.registered = true
	p.mu.Unlock()
	if !registered {
		entry := scope.Add(p)
		for entry.Keep() {
			continue
		}
	}
	if t != nil {
		return t, nil
	}
	t, err := k.make(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.transports[k]; other != nil {
		return other, nil // another task has made it in the meantime
	}
	if p.transports == nil {
		p.transports = map[connection]*http.Transport{}
	}
	if len(p.order) == maxTransports {
		p.transports[p.order[0]].CloseIdleConnections()
		delete(p.transports, p.order[0])
		p.order = p.order[1:]
	}
	p.transports[k] = t
	p.order = append(p.order, k)
	return t, nil
}

// Close closes the connections. The pool can be used again.
func (p *pool) Close(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.transports {
		t.CloseIdleConnections()
	}
	p.transports, p.order, p.registered = nil, nil, false
	return nil
}

// make returns a new transport.
func (k connection) make(ctx context.Context) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: k.timeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    k.timeout,
		IdleConnTimeout:        idleTime,
		MaxIdleConnsPerHost:    8,
		MaxIdleConns:           32,
		MaxResponseHeaderBytes: maxHeader,
		ExpectContinueTimeout:  time.Second,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: k.insecure},
	}
	switch k.proxy {
	case "":
	case "env":
		config := httpproxy.Config{HTTPProxy: k.http, HTTPSProxy: k.https, NoProxy: k.except}
		proxy := config.ProxyFunc()
		t.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	default:
		u, err := url.Parse(k.proxy)
		if err != nil {
			return nil, err
		}
		t.Proxy = http.ProxyURL(u)
	}
	if k.ca != "" {
		text, err := localfile.ReadFile(ctx, k.ca, maxPEM)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, host.Errorf("argument", "http: %s has no certificate in PEM form", k.ca)
		}
	}
	if k.cert != "" {
		pair, err := k.pair(ctx)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// pair reads the client's certificate.
func (k connection) pair(ctx context.Context) (pair tls.Certificate, err error) {
	cert, err := localfile.ReadFile(ctx, k.cert, maxPEM)
	if err != nil {
		return pair, err
	}
	key, err := localfile.ReadFile(ctx, k.key, maxPEM)
	if err != nil {
		return pair, err
	}
	pair, err = tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, host.Errorf("argument", "http: cert %s and key %s: %v", k.cert, k.key, err)
	}
	return pair, nil
}
