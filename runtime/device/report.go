package device

import (
	"fmt"
	"strings"
)

// RouteReport says what a route is used for and why.
type RouteReport struct {
	Route Route
	// Use is "services" (lockdown and what it starts), "tunnel",
	// "services, tunnel" or "spare".
	Use string
	// How says which tunnel it is, or would be; "" when there can be none.
	How string
	// Up says that the tunnel is there now, Generation which one it is.
	Up         bool
	Generation int
	// Why says in words why the route is used as it is.
	Why string
}

// Routes reports all routes to the device that are known, best first: what each
// is used for, and why it was chosen or not.
func (d *Device) Routes() []RouteReport {
	info := d.Info()
	d.mu.Lock()
	attempts := d.tunnels.attempts
	d.mu.Unlock()
	now := d.Tunneled()
	if now != nil {
		// A look for the device meanwhile may not have found the route again.
		info.Routes = addRoutes(info.Routes, []Route{now.Route})
	}
	best, hasBest := info.lockdown()
	var planned *Route // for the tunnel, as long as there is none
	var reports []RouteReport
	for _, r := range info.Routes {
		rep := RouteReport{Route: r}
		var use, why []string
		switch {
		case hasBest && r.same(best):
			use = append(use, "services")
			why = append(why, whyLockdown(info, r))
		case r.hasLockdown():
			why = append(why, fmt.Sprintf("services go over %s", best))
		}
		tunnel, reason := d.tunnelUse(info, r, now, attempts, &planned, &rep)
		if tunnel {
			use = append(use, "tunnel")
		}
		if reason != "" {
			why = append(why, reason)
		}
		if rep.Use = strings.Join(use, ", "); rep.Use == "" {
			rep.Use = "spare"
		}
		rep.Why = strings.Join(why, "; ")
		reports = append(reports, rep)
	}
	return reports
}

func whyLockdown(info Info, r Route) string {
	others := 0
	for _, o := range info.Routes {
		if o.hasLockdown() {
			others++
		}
	}
	if others == 1 {
		return "the one route with lockdown"
	}
	return fmt.Sprintf(
		"the best of %d routes with lockdown: a muxer before a network, a cable before Wi-Fi",
		others,
	)
}

// tunnelUse says whether the tunnel runs on a route, or would, and why not.
func (d *Device) tunnelUse(
	info Info, r Route, now *Tunnel, attempts []Attempt, planned **Route, rep *RouteReport,
) (use bool, why string) {
	if !info.since(tunnelsSince) {
		return false, fmt.Sprintf("iOS %s has no tunnels", info.Version)
	}
	if now != nil && now.Route.same(r) {
		rep.How, rep.Up, rep.Generation = now.How, true, now.Generation
		return true, fmt.Sprintf("tunnel %d took %d ms", now.Generation, now.Took.Milliseconds())
	}
	for _, a := range attempts {
		if a.Route.same(r) && a.Err != nil {
			rep.How, why = a.How, "no tunnel: "+
				strings.TrimPrefix(a.Err.Error(), ErrSkipped.Error()+": ")
		}
	}
	if why != "" {
		return false, why
	}
	if now != nil {
		return false, fmt.Sprintf("the tunnel is on %s", now.Route)
	}
	w := d.ways(info, r, TunnelOptions{})[0] // the best of the route
	switch rep.How = w.how; {
	case *planned != nil:
		return false, fmt.Sprintf("a tunnel would be on %s", **planned)
	case w.skip != nil:
		return false, "no tunnel: " + strings.TrimPrefix(w.skip.Error(), ErrSkipped.Error()+": ")
	}
	*planned = &r
	return true, "a tunnel is made when first needed"
}
