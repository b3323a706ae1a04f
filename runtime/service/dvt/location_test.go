package dvt

import (
	"errors"
	"io/fs"
	"math"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone/location"
)

func TestLocation(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		ctx := t.Context()
		home, _ := r.phone.Location.Place()
		want := func(at location.Place, simulated bool) {
			t.Helper()
			got, s := r.phone.Location.Place()
			if got != at {
				t.Errorf("the phone is at %v, want %v", got, at)
			}
			if s != simulated {
				t.Errorf("location simulated: %v, want %v", s, simulated)
			}
		}
		if err := r.SetLocation(ctx, 48.8584, 2.2945); err != nil {
			t.Fatal(err)
		}
		want(location.Place{Latitude: 48.8584, Longitude: 2.2945}, true)
		if err := r.SetLocation(ctx, -33.5, -70); err != nil { // whole numbers too
			t.Fatal(err)
		}
		want(location.Place{Latitude: -33.5, Longitude: -70}, true)
		for _, at := range [][2]float64{{91, 0}, {0, 181}, {math.NaN(), 0}} {
			if err := r.SetLocation(ctx, at[0], at[1]); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%v: %v", at, err)
			}
		}
		want(location.Place{Latitude: -33.5, Longitude: -70}, true)
		if err := r.ClearLocation(ctx); err != nil {
			t.Fatal(err)
		}
		want(home, false)

		// The end of another session ends only the simulation of that session.
		other := New(r.dial(), Options{})
		if err := other.SetLocation(ctx, 1, 1); err != nil {
			t.Fatal(err)
		}
		if err := r.SetLocation(ctx, 2, 2); err != nil {
			t.Fatal(err)
		}
		other.Close()
		want(location.Place{Latitude: 2, Longitude: 2}, true)

		// Numbers that are not archived are accepted too.
		ch := r.host(ChannelLocation, dtx.Options{Silent: true})
		m, err := ch.CallMessage(ctx, "simulateLocationWithLatitude:longitude:", dtx.Double(3.5),
			dtx.Int32(4))
		if err != nil {
			t.Errorf("simulateLocation: %v", err)
		} else if m.Type != dtx.Ack {
			t.Errorf("answer %+v, want an Ack", m)
		}
		want(location.Place{Latitude: 3.5, Longitude: 4}, true)
		if _, err := ch.Call(ctx, "simulateLocationWithLatitude:longitude:", "3.5",
			nskeyed.Null{}); !errors.Is(err, dtx.ErrRemote) {
			t.Errorf("words: %v", err)
		}
	})
}
