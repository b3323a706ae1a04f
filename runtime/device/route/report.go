package route

import (
	"fmt"
	"slices"
	"strings"
)

// Row says how a route is used and why.
type Row struct {
	// Use is "services" (lockdown and what it starts), "tunnel",
	// "services, tunnel" or "spare".
	Use string
	// How is the method of the tunnel that is or would be on the route. It is "" if
	// there can be none.
	How Method
	// Up reports whether the tunnel is up on this route. Generation is its number.
	Up         bool
	Generation int
	// Why is the reason for the use, as text.
	Why string
}

// Report returns a row for each route.
func Report(f Facts) []Row {
	best, planned := f.lockdown(), -1
	rows := make([]Row, len(f.Routes))
	for i, r := range f.Routes {
		var use, why []string
		switch {
		case i == best:
			use, why = append(use, "services"), append(why, f.whyLockdown())
		case r.Via.HasLockdown():
			why = append(why, "services go over "+f.Routes[best].Name)
		}
		row := &rows[i]
		tunnel, reason := f.tunnelUse(i, &planned, row)
		if tunnel {
			use = append(use, "tunnel")
		}
		row.Use = strings.Join(use, ", ")
		if len(use) == 0 {
			row.Use = "spare"
		}
		row.Why = strings.Join(append(why, reason), "; ")
	}
	return rows
}

// tunnelUse reports whether the tunnel is or would be on a route, and why. planned is
// the route on which one would be made, or -1 if none has been found yet.
func (f Facts) tunnelUse(i int, planned *int, row *Row) (use bool, why string) {
	first := f.ways(i)[0] // the best of the route
	failed := slices.IndexFunc(f.Failed, func(a Failed) bool { return a.Route == i })
	switch up := f.Tunnel; {
	case !f.Since(TunnelsSince):
		return false, first.Skip
	case up != nil && up.Route == i:
		row.How, row.Up, row.Generation = up.How, true, up.Generation
		return true, fmt.Sprintf("tunnel %d took %d ms", up.Generation, up.Took.Milliseconds())
	case failed >= 0:
		for _, a := range f.Failed { // the last one has the reason
			if a.Route == i {
				row.How, why = a.How, "no tunnel: "+a.Reason
			}
		}
		return false, why
	case up != nil:
		return false, "the tunnel is on " + f.Routes[up.Route].Name
	}
	row.How = first.Method
	switch {
	case *planned >= 0:
		return false, "a tunnel would be on " + f.Routes[*planned].Name
	case first.Skip != "":
		return false, "no tunnel: " + first.Skip
	}
	*planned = i
	return true, "a tunnel is made when first needed"
}
