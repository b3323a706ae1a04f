package tunneld

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// methods maps the methods of a path to their handlers.
type methods map[string]http.HandlerFunc

// pythonAPI returns the handler of pymobiledevice3's API. That program is built on
// FastAPI, so errors have the form of FastAPI's.
func (r *run) pythonAPI() http.Handler {
	paths := map[string]methods{
		"/":              {"GET": r.list},
		"/start-tunnel":  {"GET": r.start},
		"/cancel":        {"GET": r.cancelTunnel},
		"/clear_tunnels": {"GET": r.clearTunnels},
		"/hello": {"GET": func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200,
				message{"Hello, I'm alive"})
		}},
		"/shutdown": {"GET": r.shutdownPython},
		bridgePath:  {"GET": r.bridge},
		"/upstream": {"GET": r.listUpstreams, "POST": r.changeUpstream, "DELETE": r.changeUpstream},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		m, ok := paths[q.URL.Path]
		if !ok {
			reply(w, http.StatusNotFound, detail{"Not Found"})
			return
		}
		h, ok := m[q.Method]
		if !ok {
			w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(m)), ", "))
			reply(w, http.StatusMethodNotAllowed, detail{"Method Not Allowed"})
			return
		}
		h(w, q)
	})
}

func refusePython(w http.ResponseWriter, status int) {
	text := http.StatusText(status)
	if status == http.StatusUnauthorized {
		text = "Not authenticated"
	}
	reply(w, status, detail{text})
}

// Bodies of answers. Their keys are sent in the order of the fields.
type (
	message struct {
		Message string `json:"message"`
	}
	detail struct {
		Detail any `json:"detail"`
	}
	failure struct {
		Error any `json:"error"`
	}
	exception struct {
		Exception string `json:"exception"`
		Traceback string `json:"traceback"`
	}
	operation struct {
		Operation string  `json:"operation"`
		UDID      *string `json:"udid,omitempty"`
		URL       *string `json:"url,omitempty"`
		Data      bool    `json:"data"`
		Message   string  `json:"message"`
	}
	// invalid is FastAPI's description of an error in a request.
	invalid struct {
		Type  string `json:"type"`
		Loc   []any  `json:"loc"`
		Msg   string `json:"msg"`
		Input any    `json:"input"`
		Ctx   any    `json:"ctx,omitempty"`
	}
)

// reply sends a body as FastAPI encodes it: without spaces, without a newline at the
// end, and with no more escapes than JSON requires.
func reply(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func unprocessable(w http.ResponseWriter, i invalid) {
	reply(w, http.StatusUnprocessableEntity, detail{[]invalid{i}})
}

// list is GET /. It lists the tunnels that the server knows at once, and those of the
// upstreams that answer in time.
func (r *run) list(w http.ResponseWriter, q *http.Request) {
	r.changed() // so that the next answer is current
	if r.upstream.returned(q) {
		reply(w, http.StatusLoopDetected, detail{"the request is of this server itself"})
		return
	}
	all := map[string][]listed{}
	for _, e := range r.reachable() {
		f := e.front()
		all[e.UDID] = append(all[e.UDID],
			listed{Address: f.address.String(), Port: f.rsdPort, Interface: e.Interface})
	}
	r.upstream.merge(q, r.net.dial, r.log, all)
	reply(w, http.StatusOK, all)
}

// udidOf returns the parameter udid. If it is missing, udidOf sends the error and
// returns false.
func udidOf(w http.ResponseWriter, q *http.Request) (string, bool) {
	values := q.URL.Query()["udid"]
	if len(values) == 0 {
		unprocessable(w,
			invalid{Type: "missing", Loc: []any{"query", "udid"}, Msg: "Field required"})
		return "", false
	}
	return values[len(values)-1], true
}

// start is GET /start-tunnel.
func (r *run) start(w http.ResponseWriter, q *http.Request) {
	udid, ok := udidOf(w, q)
	if !ok {
		return
	}
	if udid == "" || len(udid) > maxUDID {
		reply(w, http.StatusNotImplemented, failure{"task not created"})
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), startTimeout)
	defer cancel()
	wish := q.URL.Query()
	t, err := r.Manager.Start(ctx, r.known(udid), wish.Get("ip"), wish.Get("connection_type"))
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		reply(w, http.StatusNotImplemented, failure{"task not created"})
		return
	case ctx.Err() != nil:
		reply(w, http.StatusNotFound, failure{"something went wrong during tunnel creation"})
		return
	default:
		reply(w, http.StatusNotImplemented, failure{exception{Exception: err.Error()}})
		return
	}
	e := r.await(ctx, t)
	if e == nil {
		reply(w, http.StatusNotFound, failure{"something went wrong during tunnel creation"})
		return
	}
	f := e.front()
	reply(w, http.StatusOK,
		started{Interface: e.Interface, Port: f.rsdPort, Address: f.address.String()})
}

// cancelTunnel is GET /cancel. It also succeeds if the device has no tunnel. As in
// pymobiledevice3, the tunnel is not made again before the device is connected again or
// a client asks for it.
func (r *run) cancelTunnel(w http.ResponseWriter, q *http.Request) {
	udid, ok := udidOf(w, q)
	if !ok {
		return
	}
	r.drop(udid, r.Manager.Cancel)
	reply(w, http.StatusOK, operation{
		Operation: "cancel", UDID: &udid, Data: true, Message: "tunnel " + udid + " Canceled ...",
	})
}

// clearTunnels is GET /clear_tunnels.
func (r *run) clearTunnels(w http.ResponseWriter, _ *http.Request) {
	shown := r.hide(func(*exposure) bool { return true })
	r.Manager.Clear()
	r.update()
	shown()
	reply(w, http.StatusOK,
		operation{Operation: "clear_tunnels", Data: true, Message: "Cleared tunnels..."})
}

// shutdownPython is GET /shutdown.
func (r *run) shutdownPython(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "close")
	reply(w, http.StatusOK,
		operation{Operation: "shutdown", Data: true, Message: "Server shutting down..."})
	r.shutdown(0)
}
