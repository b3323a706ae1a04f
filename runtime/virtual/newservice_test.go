package virtual

import (
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
)

// TestNewServiceIsListed adds a service to the catalogue that package rsd does not know.
// All lists for paired hosts have it, in tunnels and at an address.
func TestNewServiceIsListed(t *testing.T) {
	t.Parallel()
	m, err := New(Options{Phone: phone.Options{Profile: "ios26", LogRate: -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const name = "com.example.greeter.shim.remote"
	m.catalog = append(m.catalog, entry{name: service.Name{Remote: name, Checkin: true}})
	l := &listening{m: m}
	lists := map[string][]rsd.Service{
		"tunnel":  m.newInside().services(),
		"address": (&shownList{on: l}).services(),
	}
	for where, list := range lists {
		if !slices.ContainsFunc(list, func(s rsd.Service) bool { return s.Name == name }) {
			t.Errorf("the list in a %s lacks it", where)
		}
	}
	unpaired := &shownList{on: l, options: rsd.TableOptions{Untrusted: true}}
	for _, s := range unpaired.services() {
		if s.Name == name {
			t.Error("the list for hosts that are not paired has it")
		}
	}
}
