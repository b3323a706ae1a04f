package dvt

import (
	"maps"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone"
)

// TestSelectors holds the table to what the virtual device answers.
func TestSelectors(t *testing.T) {
	t.Parallel()
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Channels(), slices.Sorted(maps.Keys(channels)); !slices.Equal(got, want) {
		t.Errorf("channels %q, want %q", got, want)
	}
	for id, maker := range channels {
		methods := maker(&session{phone: p}, nil).(dtx.Methods)
		if got, want := Selectors(id), slices.Sorted(maps.Keys(methods)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	if Selectors("com.example.none") != nil {
		t.Error("an unknown channel has selectors")
	}
}
