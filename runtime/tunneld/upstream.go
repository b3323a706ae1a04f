package tunneld

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// upstreamTimeout is what each other server has to answer in.
	upstreamTimeout = 2 * time.Second
	// maxUpstreams is how many there may be, and maxAsking how many requests
	// to them at a time; those above it are left out. Servers that have each
	// other as upstreams would else ask in circles without end.
	maxUpstreams = 32
	maxAsking    = 64
)

// upstreams are other servers whose tunnels are listed with ours.
type upstreams struct {
	id     string        // by which we know our own request when it comes back
	asking chan struct{} // holds a token for each request

	mu   sync.Mutex
	urls map[string]bool
}

func (u *upstreams) init() {
	u.id = "imdlua-" + rand.Text()
	u.asking = make(chan struct{}, maxAsking)
}

// add takes the base URL of a server. One that is there already is no error.
func (u *upstreams) add(s string) error {
	p, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("upstream %q: not a URL", link.Clip(s))
	case p.Scheme != "http" || p.Host == "" || p.User != nil || len(s) > maxURL:
		return fmt.Errorf("upstream %q: not an http://HOST:PORT", link.Clip(s))
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
		list = []string{} // [] and not null
	}
	return list
}

// merge asks all upstreams at once and puts their tunnels behind ours. One that
// does not answer well in its time is left out.
func (u *upstreams) merge(q *http.Request, dial dialFunc, all map[string][]listed) {
	urls := u.sorted()
	via := q.Header.Values("Via")
	if len(urls) == 0 || strings.Contains(strings.Join(via, ","), u.id) {
		return
	}
	via = append(slices.Clone(via), "1.1 "+u.id)
	ctx, cancel := context.WithTimeout(q.Context(), upstreamTimeout)
	defer cancel()
	answers := make([][]Entry, len(urls))
	var wg sync.WaitGroup
	for i, s := range urls {
		select {
		case u.asking <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-u.asking }()
			answers[i] = ask(ctx, s, via, dial)
		})
	}
	wg.Wait()
	for _, list := range answers {
		for _, e := range list {
			all[e.UDID] = append(all[e.UDID], listed{Address: e.Address.String(), Port: e.RSDPort, Interface: e.Interface})
		}
	}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// ask returns the tunnels of another server, nil when it does not answer well.
func ask(ctx context.Context, base string, via []string, dial dialFunc) []Entry {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/", nil)
	if err != nil {
		return nil
	}
	q.Header["Via"] = via
	a, err := fetch(q, dial)
	if err != nil || a.status != http.StatusOK {
		return nil
	}
	list, _ := decodeList(a.body)
	return list
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
	o := operation{Operation: "remove_upstream", URL: &s, Data: true, Message: "upstream " + s + " removed"}
	if q.Method == http.MethodPost {
		if err := r.upstream.add(s); err != nil {
			unprocessable(w, invalid{Type: "value_error", Loc: []any{"body", "url"}, Msg: "Value error, " + err.Error(), Input: link.Clip(s)})
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
		return "", &invalid{Type: "json_invalid", Loc: []any{"body", 0}, Msg: "JSON decode error", Input: struct{}{}, Ctx: map[string]string{"error": "Expecting value"}}
	}
	var body map[string]json.RawMessage
	if json.Unmarshal(b, &body) != nil || body == nil {
		return "", &invalid{Type: "model_attributes_type", Loc: []any{"body"}, Msg: "Input should be a valid dictionary or object to extract fields from", Input: json.RawMessage(b)}
	}
	raw, ok := body["url"]
	if !ok {
		return "", &invalid{Type: "missing", Loc: []any{"body", "url"}, Msg: "Field required", Input: json.RawMessage(b)}
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", &invalid{Type: "string_type", Loc: []any{"body", "url"}, Msg: "Input should be a valid string", Input: raw}
	}
	return *s, nil
}
