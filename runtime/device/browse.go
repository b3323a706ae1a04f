package device

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

// Browse returns what is advertised on the networks of the Finder, sorted by name and
// interface. If the query names no interfaces, the loopback interface is one of them,
// because relays and virtual devices advertise there. It is an error only if no network
// can be browsed.
func (f *Finder) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	q.Loopback = true
	browsers := f.allBrowsers()
	lists, errs := make([][]bonjour.Instance, len(browsers)), make([]error, len(browsers))
	var wg sync.WaitGroup
	for n, b := range browsers {
		wg.Go(func() { lists[n], errs[n] = b.Browse(ctx, q) })
	}
	wg.Wait()
	var all []bonjour.Instance
	failed := 0
	for n, list := range lists {
		if errs[n] != nil {
			failed++
		}
		all = append(all, list...)
	}
	if len(browsers) == 0 {
		return nil, &Error{Op: "browse " + string(q.Type), Err: bonjour.ErrNoInterface}
	}
	if failed == len(browsers) {
		return nil, errors.Join(errs...)
	}
	slices.SortStableFunc(all, func(a, b bonjour.Instance) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Interface, b.Interface))
	})
	return all, nil
}
