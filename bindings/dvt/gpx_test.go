package dvt

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

func TestParseGPX(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/walk.gpx")
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		text string
		want []gpxPoint
	}{
		"track": {string(file), []gpxPoint{
			{52.51627, 13.3777, noon},
			{52.516, 13.372, noon.Add(2500 * time.Millisecond)},
			{52.5145, 13.3501, noon.Add(10 * time.Second)},
		}},
		"route": {
			`<gpx><rte><rtept lat="1" lon="2"/><rtept lat="-90" lon="180"/></rte>` +
				`<wpt lat="5" lon="5"/></gpx>`,
			[]gpxPoint{{Lat: 1, Lon: 2}, {Lat: -90, Lon: 180}},
		},
		"places, as Xcode writes them": {
			`<?xml version="1.0"?><gpx version="1.1" creator="Xcode">` +
				`<wpt lat="37.331705" lon=" -122.030237">` +
				`<name>Cupertino</name><time>2014-09-24T14:55:37Z</time></wpt></gpx>`,
			[]gpxPoint{{37.331705, -122.030237, time.Date(2014, 9, 24, 14, 55, 37, 0, time.UTC)}},
		},
		"no zone": {
			`<gpx><wpt lat="1" lon="2"><time> 2024-05-01T10:00:00 </time></wpt></gpx>`,
			[]gpxPoint{{1, 2, noon}},
		},
	} {
		got, err := parseGPX(strings.NewReader(test.text), maxGPX)
		for i := range got {
			got[i].Time = got[i].Time.UTC()
		}
		if err != nil {
			t.Errorf("%s: parseGPX = %v, want no error", name, err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: parseGPX = %v, want %v", name, got, test.want)
		}
	}
}

func TestParseGPXRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"", "gpx: file is empty"},
		{"no xml", "gpx: file is empty"},
		{"<kml/>", "gpx: line 1: file begins with <kml>"},
		{"<gpx>", "unexpected EOF"},
		{"<gpx/>", "gpx: file has no points"},
		{`<gpx><wpt lat="1"/></gpx>`, "gpx: line 1: <wpt> has no latitude and longitude"},
		{
			"<gpx>\n" + `<wpt lat="91" lon="0"/></gpx>`,
			"gpx: line 2: <wpt> has no latitude and longitude",
		},
		{`<gpx><wpt lat="NaN" lon="0"/></gpx>`, "<wpt> has no latitude and longitude"},
		{
			`<gpx><wpt lat="1" lon="2"><time>yesterday</time></wpt></gpx>`,
			`<time> "yesterday" is not a time`,
		},
		{
			`<gpx><wpt lat="1" lon="2"><time>` + strings.Repeat("9", 1000) + `</time></wpt></gpx>`,
			`..." is not a time`,
		},
		{"<gpx>" + strings.Repeat("<a>", 100), "elements nest too deep"},
		{
			"<gpx>" + strings.Repeat(`<wpt lat="1" lon="2"/>`, maxPoints+1),
			"more than 262144 points",
		},
		{
			"<gpx" + strings.Repeat(" a=''", maxGPXToken/5) + "></gpx>",
			"gpx: line 1: an element or text is longer than 1048576 bytes",
		},
		{
			"<gpx><!--" + strings.Repeat("x", 2*maxGPXToken) + "--></gpx>",
			"gpx: line 1: an element or text is longer than 1048576 bytes",
		},
	} {
		got, err := parseGPX(strings.NewReader(test.text), maxGPX)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("parseGPX(%.60q): error %v, want %q in it", test.text, err, test.want)
		}
		if got != nil {
			t.Errorf("parseGPX(%.60q) = %v, want no points", test.text, got)
		}
	}
	_, err := parseGPX(endless{}, 1<<16)
	if err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("parseGPX of an endless file = %v, want larger than", err)
	}
}

// endless is a file of spaces that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func FuzzParseGPX(f *testing.F) {
	file, err := os.ReadFile("testdata/walk.gpx")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`<gpx><rte><rtept lat="1" lon="2"/>` +
		`<wpt lat="1" lon="2"><trkpt lat="1" lon="2"/></wpt></rte></gpx>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var points []gpxPoint
		var err error
		fuzztest.Bounded(t, len(b), func() { points, err = parseGPX(bytes.NewReader(b), maxGPX) })
		if err == nil && len(points) == 0 {
			t.Error("no points and no error")
		}
		r := newJourney(points, 1, 1)
		for i := 1; i < len(points); i++ {
			p := points[i]
			if !(math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180) {
				t.Errorf("point %d is %v", i, p)
			}
			if r.at[i] < r.at[i-1] {
				t.Errorf("point %d is at %v, after one at %v", i, r.at[i], r.at[i-1])
			}
		}
	})
}

// traveller is a locator that records each location and its time.
type traveller struct {
	begin   time.Time
	slow    time.Duration // time that SetLocation takes
	fail    error         // error of the third SetLocation
	places  []gpxPoint
	when    []time.Duration
	cleared int // number of calls of ClearLocation
}

func (r *traveller) SetLocation(ctx context.Context, lat, lon float64) error {
	if r.fail != nil && len(r.places) == 2 {
		return r.fail
	}
	round := func(degrees float64) float64 { return math.Round(degrees*1e4) / 1e4 }
	r.places = append(r.places, gpxPoint{Lat: round(lat), Lon: round(lon)})
	r.when = append(r.when, time.Since(r.begin))
	return link.Sleep(ctx, r.slow)
}

func (r *traveller) ClearLocation(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.cleared++
	return nil
}

func TestTravel(t *testing.T) {
	t.Parallel()
	start := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	at := func(lat, lon float64, s float64) gpxPoint {
		return gpxPoint{lat, lon, start.Add(time.Duration(s * float64(time.Second)))}
	}
	broken := errors.New("broken")
	const s, ms = time.Second, time.Millisecond
	for name, test := range map[string]struct {
		points      []gpxPoint
		speed, pace float64
		loop        bool
		limit       time.Duration
		slow        time.Duration
		fail        error
		places      []gpxPoint
		when        []time.Duration
		want        error
	}{
		"real time": {
			points: []gpxPoint{at(0, 0, 0), at(1, 1, 2.5), at(2, 2, 3)}, speed: 1, pace: 1,
			places: []gpxPoint{
				{Lat: 0, Lon: 0}, {Lat: 0.4, Lon: 0.4}, {Lat: 0.8, Lon: 0.8}, {Lat: 1, Lon: 1},
				{Lat: 2, Lon: 2},
			},
			when: []time.Duration{0, s, 2 * s, 2500 * ms, 3 * s},
		},
		"twice as fast, standing still": {
			points: []gpxPoint{at(0, 0, 0), at(0, 0, 20), at(1, 0, 21)}, speed: 2, pace: 1,
			places: []gpxPoint{{}, {}, {Lat: 1}},
			when:   []time.Duration{0, 10 * s, 10500 * ms},
		},
		"by pace": {
			points: []gpxPoint{{Lat: 0, Lon: 0}, {Lat: 0, Lon: 0.001}}, speed: 1, pace: 111.195,
			places: []gpxPoint{{}, {Lon: 0.001}},
			when:   []time.Duration{0, s},
		},
		"round the earth": {
			points: []gpxPoint{at(0, 179, 0), at(0, -179, 4)}, speed: 1, pace: 1,
			places: []gpxPoint{{Lon: 179}, {Lon: 179.5}, {Lon: 180}, {Lon: -179.5}, {Lon: -179}},
			when:   []time.Duration{0, s, 2 * s, 3 * s, 4 * s},
		},
		"times that go back are none": {
			points: []gpxPoint{at(0, 0, 100), at(0, 0.001, 0)}, speed: 1, pace: 111.195,
			places: []gpxPoint{{}, {Lon: 0.001}},
			when:   []time.Duration{0, s},
		},
		"one point": {
			points: []gpxPoint{{Lat: 5, Lon: 6}}, speed: 1, pace: 1,
			places: []gpxPoint{{Lat: 5, Lon: 6}},
			when:   []time.Duration{0},
		},
		"a slow device misses points and not the last": {
			points: []gpxPoint{
				at(0, 0, 0), at(1, 0, 0.1), at(2, 0, 0.2), at(3, 0, 0.9), at(4, 0, 1.1),
			},
			speed: 1, pace: 1, slow: 500 * ms,
			places: []gpxPoint{{}, {Lat: 2}, {Lat: 3}, {Lat: 4}},
			when:   []time.Duration{0, 500 * ms, s, 1500 * ms},
		},
		"loop until the time is up": {
			points: []gpxPoint{at(0, 0, 0), at(1, 0, 0.4)}, speed: 1, pace: 1, loop: true,
			limit:  1700 * ms,
			places: []gpxPoint{{}, {Lat: 1}, {}, {Lat: 1}},
			when:   []time.Duration{0, 400 * ms, s, 1400 * ms},
			want:   context.DeadlineExceeded,
		},
		"failure": {
			points: []gpxPoint{at(0, 0, 0), at(0, 0, 1), at(1, 0, 2)}, speed: 1, pace: 1,
			fail:   broken,
			places: []gpxPoint{{}, {}},
			when:   []time.Duration{0, s},
			want:   broken,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.limit)
					defer cancel()
				}
				tr := &traveller{begin: time.Now(), slow: test.slow, fail: test.fail}
				err := travel(ctx, tr, newJourney(test.points, test.speed, test.pace), test.loop)
				for i := range tr.when {
					// Times that follow from a distance are not whole milliseconds.
					tr.when[i] = tr.when[i].Round(time.Millisecond)
				}
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if !reflect.DeepEqual(tr.places, test.places) {
					t.Errorf("went to\n%v, want\n%v", tr.places, test.places)
				}
				if !reflect.DeepEqual(tr.when, test.when) {
					t.Errorf("went at\n%v, want\n%v", tr.when, test.when)
				}
				if tr.cleared != 1 {
					t.Errorf("the place was cleared %d times", tr.cleared)
				}
			})
		})
	}
}
