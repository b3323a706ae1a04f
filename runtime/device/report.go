package device

import (
	"fmt"
	"strings"
)

// RoadReport says what a road is used for and why.
type RoadReport struct {
	Road Road
	// Use is "services" (lockdown and what it starts), "tunnel",
	// "services, tunnel" or "spare".
	Use string
	// How says which tunnel it is, or would be; "" when there can be none.
	How string
	// Up says that the tunnel is there now, Generation which one it is.
	Up         bool
	Generation int
	// Why says in words why the road is used as it is.
	Why string
}

// Roads reports all roads to the device that are known, best first: what each
// is used for, and why it was chosen or not.
func (d *Device) Roads() []RoadReport {
	info := d.Info()
	d.mu.Lock()
	attempts := d.tunnels.attempts
	d.mu.Unlock()
	now := d.Tunneled()
	if now != nil {
		// A look for the device meanwhile may not have found the road again.
		info.Roads = addRoads(info.Roads, []Road{now.Road})
	}
	best, hasBest := info.lockdown()
	var planned *Road // for the tunnel, as long as there is none
	var reports []RoadReport
	for _, r := range info.Roads {
		rep := RoadReport{Road: r}
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

func whyLockdown(info Info, r Road) string {
	others := 0
	for _, o := range info.Roads {
		if o.hasLockdown() {
			others++
		}
	}
	if others == 1 {
		return "the one road with lockdown"
	}
	return fmt.Sprintf("the best of %d roads with lockdown: a muxer before a network, a cable before Wi-Fi", others)
}

// tunnelUse says whether the tunnel runs on a road, or would, and why not.
func (d *Device) tunnelUse(info Info, r Road, now *Tunnel, attempts []Attempt, planned **Road, rep *RoadReport) (use bool, why string) {
	if !info.since(tunnelsSince) {
		return false, fmt.Sprintf("iOS %s has no tunnels", info.Version)
	}
	if now != nil && now.Road.same(r) {
		rep.How, rep.Up, rep.Generation = now.How, true, now.Generation
		return true, fmt.Sprintf("tunnel %d took %d ms", now.Generation, now.Took.Milliseconds())
	}
	for _, a := range attempts {
		if a.Road.same(r) && a.Err != nil {
			rep.How, why = a.How, "no tunnel: "+strings.TrimPrefix(a.Err.Error(), ErrSkipped.Error()+": ")
		}
	}
	if why != "" {
		return false, why
	}
	if now != nil {
		return false, fmt.Sprintf("the tunnel is on %s", now.Road)
	}
	w := d.ways(info, r, TunnelOptions{})[0] // the best of the road
	switch rep.How = w.how; {
	case *planned != nil:
		return false, fmt.Sprintf("a tunnel would be on %s", **planned)
	case w.skip != nil:
		return false, "no tunnel: " + strings.TrimPrefix(w.skip.Error(), ErrSkipped.Error()+": ")
	}
	*planned = &r
	return true, "a tunnel is made when first needed"
}
