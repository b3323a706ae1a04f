package tunneld

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// goiosAPI returns the handler of the API of go-ios' agent.
func (r *run) goiosAPI() http.Handler {
	paths := map[string]http.HandlerFunc{
		"/tunnels":  r.agentTunnels,
		"/health":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) },
		"/ready":    r.agentReady,
		"/shutdown": r.agentShutdown,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if udid, ok := strings.CutPrefix(q.URL.Path, "/tunnel/"); ok {
			r.agentTunnel(w, q, udid)
			return
		}
		h, ok := paths[q.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, q)
		case q.Method != http.MethodGet:
			refuseMethod(w, "GET")
		default:
			h(w, q)
		}
	})
}

func refuseGoIOS(w http.ResponseWriter, status int) {
	http.Error(w, strings.ToLower(http.StatusText(status)), status)
}

func refuseMethod(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	refuseGoIOS(w, http.StatusMethodNotAllowed)
}

// agentJSON sends a body as Go's json.Encoder writes it.
func agentJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// agentTunnel is GET and DELETE /tunnel/UDID. After DELETE the tunnel is made again while
// the device is connected, as go-ios' agent does in its next scan.
func (r *run) agentTunnel(w http.ResponseWriter, q *http.Request, udid string) {
	if q.Method != http.MethodGet && q.Method != http.MethodDelete {
		refuseMethod(w, "DELETE, GET")
		return
	}
	if udid == "" {
		http.Error(w, "missing udid", http.StatusBadRequest)
		return
	}
	if q.Method == http.MethodDelete {
		if !r.drop(udid, r.Manager.Restart) {
			http.Error(w, "tunnel not found", http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	r.changed() // so that the next answer is current
	for _, e := range r.relayed() {
		if SameUDID(e.UDID, udid) {
			agentJSON(w, e.agent())
			return
		}
	}
	http.Error(w, "tunnel not found", http.StatusNotFound)
}

// agentTunnels is GET /tunnels.
func (r *run) agentTunnels(w http.ResponseWriter, _ *http.Request) {
	r.changed()             // so that the next answer is current
	list := []agentTunnel{} // encodes as [] and not as null
	for _, e := range r.relayed() {
		list = append(list, e.agent())
	}
	agentJSON(w, list)
}

func (r *run) agentReady(w http.ResponseWriter, _ *http.Request) {
	if !r.Manager.Ready() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (r *run) agentShutdown(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "close")
	_, _ = io.WriteString(w, "shutting down in 1 second...")
	r.shutdown(agentDelay)
}
