package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestForeignPage runs the Lua of each row of docs/foreign.md on the profiles of the row.
// The lines of a profile are one script: its line n+1 is the row n of the profile.
func TestForeignPage(t *testing.T) {
	t.Parallel()
	sources := map[string]string{}
	for _, row := range virtualtest.ForeignRows(t, "../../docs/foreign.md") {
		for profile := range strings.SplitSeq(row.Profiles, ", ") {
			if !slices.Contains(identity.Profiles(), profile) {
				t.Errorf("the row of %s names the profile %q", row.Command, profile)
			}
			sources[profile] += "do " + row.Lua + " end\n"
		}
	}
	for profile, source := range sources {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, "--virtual="+profile, script(t, "local dev = device()\n"+source))
			p.check(t, 0)
			if t.Failed() {
				t.Logf("the script is\n%s", source)
			}
		})
	}
}
