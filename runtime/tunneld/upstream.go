package tunneld

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// upstreamTimeout bounds the answer of each upstream.
	upstreamTimeout = 2 * time.Second
	// maxUpstreams is the maximum number of upstreams, and maxAsking that of
	// simultaneous requests to them. Upstreams beyond the limit are left out. Without
	// it, servers that have each other as upstreams would ask each other endlessly.
	maxUpstreams = 32
	maxAsking    = 64
)

// upstreams are the other servers whose tunnels are listed with ours.
type upstreams struct {
	id     string        // is in our requests, so that one that comes back is recognized
	own    []net.Addr    // the addresses on which the server listens
	asking chan struct{} // holds a token for each request

	mu   sync.Mutex
	urls map[string]bool
}

func (u *upstreams) init(own ...net.Addr) {
	u.own = own
	u.id = "imdlua-" + rand.Text()
	u.asking = make(chan struct{}, maxAsking)
}

// add adds the base URL of a server. It is not an error if the URL has been added
// before.
func (u *upstreams) add(s string) error {
	p, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("upstream %q: not a URL", link.Clip(s))
	case p.Scheme != "http" || p.Host == "" || p.User != nil || len(s) > maxURL:
		return fmt.Errorf("upstream %q: not an http://HOST:PORT", link.Clip(s))
	case slices.ContainsFunc(u.own, func(a net.Addr) bool { return IsItself(s, a) }):
		return fmt.Errorf("upstream %q: %w", link.Clip(s), ErrItself)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.urls) >= maxUpstreams && !u.urls[s] {
		return fmt.Errorf("upstream %q: more than %d", link.Clip(s), maxUpstreams)
	}
	if u.urls == nil {
		u.urls = map[string]bool{}
	}
	u.urls[s] = true
	return nil
}

func (u *upstreams) remove(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.urls, s)
}

func (u *upstreams) sorted() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := slices.Sorted(maps.Keys(u.urls))
	if list == nil {
		list = []string{} // encodes as [] and not as null
	}
	return list
}

// IsItself reports whether an upstream's URL is that of a server that listens at an
// address. It does not resolve host names. A loop through a name is found when the
// request comes back.
func IsItself(upstream string, at net.Addr) bool {
	p, err := url.Parse(upstream)
	own, ok := at.(*net.TCPAddr)
	if err != nil || !ok || cmp.Or(p.Port(), "80") != strconv.Itoa(own.Port) {
		return false
	}
	host, err := netip.ParseAddr(p.Hostname())
	if err != nil {
		local := own.IP.IsLoopback() || own.IP.IsUnspecified()
		return local && strings.EqualFold(p.Hostname(), "localhost")
	}
	ip, _ := netip.AddrFromSlice(own.IP)
	return host.Unmap() == ip.Unmap() || ip.IsUnspecified() && host.IsLoopback()
}

// returned reports whether a request is one of our own that has come back, directly or
// through other servers.
func (u *upstreams) returned(q *http.Request) bool {
	return strings.Contains(strings.Join(q.Header.Values("Via"), ","), u.id)
}

// header returns the header of requests to upstreams on behalf of a client's request.
func (u *upstreams) header(q *http.Request) http.Header {
	return http.Header{
		"Via":      append(slices.Clone(q.Header.Values("Via")), "1.1 "+u.id),
		hopsHeader: {strconv.Itoa(hopsOf(q) - 1)},
	}
}

// lists asks all upstreams at once for their tunnels. An upstream that fails or does not
// answer in time has none. No upstream is asked for a request that has gone through
// too many servers.
func (u *upstreams) lists(
	q *http.Request, dial dialFunc, log *slog.Logger,
) (urls []string, answers [][]Entry) {
	urls = u.sorted()
	if len(urls) == 0 || hopsOf(q) == 0 {
		return nil, nil
	}
	header := u.header(q)
	ctx, cancel := context.WithTimeout(q.Context(), upstreamTimeout)
	defer cancel()
	answers = make([][]Entry, len(urls))
	var wg sync.WaitGroup
	for i, s := range urls {
		select {
		case u.asking <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-u.asking }()
			list, err := ask(ctx, s, header, dial)
			if errors.Is(err, ErrItself) && len(header["Via"]) == 1 {
				log.Warn("upstream is this server itself; removed", "url", s)
				u.remove(s)
			} else if err != nil {
				log.Debug("upstream is left out", "url", s, "error", err)
			}
			answers[i] = list
		})
	}
	wg.Wait()
	return urls, answers
}

// having returns the URL of the first upstream that lists a tunnel to a device, or "".
func (u *upstreams) having(
	q *http.Request, dial dialFunc, log *slog.Logger, udid string,
) string {
	urls, answers := u.lists(q, dial, log)
	for i, list := range answers {
		if slices.ContainsFunc(list, func(e Entry) bool { return SameUDID(e.UDID, udid) }) {
			return urls[i]
		}
	}
	return ""
}

// merge adds the tunnels of the upstreams after ours.
func (u *upstreams) merge(
	q *http.Request, dial dialFunc, log *slog.Logger, all map[string][]listed,
) {
	_, answers := u.lists(q, dial, log)
	room := maxListed // clients read no longer list, and ours must be complete in it
	for _, own := range all {
		room -= len(own)
	}
	for _, list := range answers {
		list = list[:min(len(list), max(room, 0))]
		room -= len(list)
		for _, e := range list {
			all[e.UDID] = append(all[e.UDID],
				listed{Address: e.Address.String(), Port: e.RSDPort, Interface: e.Interface})
		}
	}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// ask returns the tunnels of another server.
func ask(
	ctx context.Context, base string, header http.Header, dial dialFunc,
) ([]Entry, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/", nil)
	if err != nil {
		return nil, err
	}
	q.Header = header.Clone()
	a, err := fetch(q, dial)
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusLoopDetected:
		return nil, ErrItself
	case a.status != http.StatusOK:
		return nil, a.refusal("list", base)
	}
	return decodeList(a.body)
}

// listUpstreams is GET /upstream.
func (r *run) listUpstreams(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, r.upstream.sorted())
}

// changeUpstream is POST and DELETE /upstream.
func (r *run) changeUpstream(w http.ResponseWriter, q *http.Request) {
	b, err := io.ReadAll(q.Body)
	if err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		reply(w, status, detail{"There was an error parsing the body"})
		return
	}
	s, wrong := decodeUpstream(b)
	if wrong != nil {
		unprocessable(w, *wrong)
		return
	}
	o := operation{
		Operation: "remove_upstream", URL: &s, Data: true, Message: "upstream " + s + " removed",
	}
	if q.Method == http.MethodPost {
		if err := r.upstream.add(s); err != nil {
			unprocessable(w, invalid{
				Type: "value_error", Loc: []any{"body", "url"}, Msg: "Value error, " + err.Error(),
				Input: link.Clip(s),
			})
			return
		}
		o.Operation, o.Message = "add_upstream", "upstream "+s+" added"
	} else {
		r.upstream.remove(s)
	}
	reply(w, http.StatusOK, o)
}

// decodeUpstream reads {"url": U}, or says what is wrong with it.
func decodeUpstream(b []byte) (string, *invalid) {
	if len(bytes.TrimSpace(b)) == 0 {
		return "", &invalid{Type: "missing", Loc: []any{"body"}, Msg: "Field required"}
	}
	if !json.Valid(b) {
		return "", &invalid{
			Type: "json_invalid", Loc: []any{"body", 0}, Msg: "JSON decode error",
			Input: struct{}{}, Ctx: map[string]string{"error": "Expecting value"},
		}
	}
	var body map[string]json.RawMessage
	if json.Unmarshal(b, &body) != nil || body == nil {
		return "", &invalid{
			Type: "model_attributes_type", Loc: []any{"body"},
			Msg:   "Input should be a valid dictionary or object to extract fields from",
			Input: json.RawMessage(b),
		}
	}
	raw, ok := body["url"]
	if !ok {
		return "", &invalid{
			Type: "missing", Loc: []any{"body", "url"}, Msg: "Field required",
			Input: json.RawMessage(b),
		}
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", &invalid{
			Type: "string_type", Loc: []any{"body", "url"}, Msg: "Input should be a valid string",
			Input: raw,
		}
	}
	return *s, nil
}
