package dvt

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// TestChannels compares the channel table with the methods that the virtual device
// answers.
func TestChannels(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	for _, c := range channels() {
		methods := c.serve(&session{phone: p}, nil).(dtx.Methods)
		got, want := Selectors(c.identifier), slices.Sorted(maps.Keys(methods))
		if !slices.Equal(got, want) {
			t.Errorf("%s: channels.go has %q, the device side %q", c.identifier, got, want)
		}
		if !slices.Contains(published(), services+strings.Fields(c.capabilities)[0]) {
			t.Errorf("%s publishes nothing", c.identifier)
		}
	}
	if Selectors("com.example.none") != nil {
		t.Error("an unknown channel has selectors")
	}
}

var identifiers = regexp.MustCompile(`(?m)^\t(Channel\w+) += services \+ "(.*)"$`)

// TestIdentifiers checks that each channel that wire.go names has a row in the table.
func TestIdentifiers(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("wire.go")
	if err != nil {
		t.Fatal(err)
	}
	found := identifiers.FindAllStringSubmatch(string(source), -1)
	if len(found) < len(channels()) {
		t.Errorf("wire.go has %d identifiers, channels.go %d rows", len(found), len(channels()))
	}
	for _, f := range found {
		if !slices.Contains(Channels(), services+f[2]) {
			t.Errorf("%s of wire.go has no row in channels.go", f[1])
		}
	}
}
