package device

import (
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/device/route"
)

// RouteReport says how a route is used and why.
type RouteReport struct {
	Route Route
	route.Row
}

// Routes reports all known routes to the device, best first. Each has its use, and the
// reason why it was chosen or not.
func (d *Device) Routes() []RouteReport {
	info := d.Info()
	d.mu.Lock()
	attempts := d.tunnels.attempts
	d.mu.Unlock()
	now := d.Tunneled()
	if now != nil {
		// A search that ran meanwhile may have missed the route.
		info.Routes = addRoutes(info.Routes, []Route{now.Route})
	}
	facts := info.facts(TunnelOptions{})
	index := func(r Route) int { return slices.IndexFunc(info.Routes, r.same) }
	if now != nil {
		facts.Tunnel = &route.Up{
			Route: index(now.Route), How: now.How, Generation: now.Generation, Took: now.Took,
		}
	}
	for _, a := range attempts {
		if a.Err != nil {
			facts.Failed = append(facts.Failed, route.Failed{
				Route: index(a.Route), How: a.How,
				Reason: strings.TrimPrefix(a.Err.Error(), ErrSkipped.Error()+": "),
			})
		}
	}
	reports := make([]RouteReport, len(info.Routes))
	for i, row := range route.Report(facts) {
		reports[i] = RouteReport{Route: info.Routes[i], Row: row}
	}
	return reports
}
