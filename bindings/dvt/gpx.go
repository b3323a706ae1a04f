package dvt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// Limits of a file: its size, how many places it may have, and how deep its
	// elements may nest.
	maxGPX      = 32 << 20
	maxPoints   = 1 << 18
	maxGPXDepth = 64
	// maxGPXToken bounds a tag with its attributes, a comment, and a piece of text: the
	// decoder takes many times their length in memory.
	maxGPXToken = 1 << 20

	// stepTime is the time from one place between two points to the next.
	stepTime = time.Second
	// walkingPace is in metres a second.
	walkingPace = 1.4
	earthRadius = 6371000.0 // metres
	// longest is more than anybody waits, and far below what overflows.
	longest = 365 * 24 * time.Hour
)

// gpxPoint is a place of a route and the time at which it was reached. The zero
// time is unknown.
type gpxPoint struct {
	Lat, Lon float64
	Time     time.Time
}

// gpxLists are the elements that are points, best first: a file has a track, else
// a route, else a list of places, which is what Xcode writes.
var gpxLists = []string{"trkpt", "rtept", "wpt"}

// parseGPX reads the points of a GPX file of at most limit bytes, in their
// order.
func parseGPX(r io.Reader, limit int64) ([]gpxPoint, error) {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	token := &tokenReader{r: limited}
	p := gpxParser{dec: xml.NewDecoder(token), token: token, lists: map[string][]gpxPoint{}}
	err := p.parse()
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("gpx: file is larger than %d bytes", limit)
	case err != nil:
		return nil, fmt.Errorf("gpx: %w", err)
	}
	for _, name := range gpxLists {
		if list := p.lists[name]; len(list) > 0 {
			return list, nil
		}
	}
	return nil, errors.New("gpx: file has no points")
}

// tokenReader bounds how much is read for one token.
type tokenReader struct {
	r    io.Reader
	left int // for the token that is read now
}

var errToken = fmt.Errorf("an element or text is longer than %d bytes", maxGPXToken)

func (t *tokenReader) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, errToken
	}
	n, err := t.r.Read(p[:min(len(p), t.left)])
	t.left -= n
	return n, err
}

type gpxParser struct {
	dec   *xml.Decoder
	token *tokenReader // what dec reads from
	begun bool
	path  []string // open elements
	lists map[string][]gpxPoint
	count int
	at    *gpxPoint // the point whose elements are read
	text  strings.Builder
}

func (p *gpxParser) parse() error {
	for {
		p.token.left = maxGPXToken
		t, err := p.dec.Token()
		if err == errToken {
			line, _ := p.dec.InputPos()
			return fmt.Errorf("line %d: %w", line, err)
		}
		if err == io.EOF && p.begun {
			return nil
		}
		if err == io.EOF {
			return errors.New("file is empty")
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			err = p.start(t)
		case xml.CharData:
			if p.at != nil && p.path[len(p.path)-1] == "time" && p.text.Len() < 64 {
				p.text.Write(t)
			}
		case xml.EndElement:
			err = p.end()
		}
		if err != nil {
			line, _ := p.dec.InputPos()
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

func (p *gpxParser) start(t xml.StartElement) error {
	name := t.Name.Local
	switch {
	case !p.begun && name != "gpx":
		return fmt.Errorf("file begins with <%s>", clipped(name))
	case len(p.path) == maxGPXDepth:
		return errors.New("elements nest too deep")
	}
	p.begun = true
	p.path = append(p.path, name)
	p.text.Reset()
	if p.at != nil || name != "trkpt" && name != "rtept" && name != "wpt" {
		return nil
	}
	if p.count++; p.count > maxPoints {
		return fmt.Errorf("more than %d points", maxPoints)
	}
	p.at = &gpxPoint{Lat: math.NaN(), Lon: math.NaN()}
	for _, a := range t.Attr {
		v, err := strconv.ParseFloat(strings.TrimSpace(a.Value), 64)
		if err != nil {
			continue
		}
		switch a.Name.Local {
		case "lat":
			p.at.Lat = v
		case "lon":
			p.at.Lon = v
		}
	}
	// The condition is written so that it also refuses NaN.
	if !(p.at.Lat >= -90 && p.at.Lat <= 90 && p.at.Lon >= -180 && p.at.Lon <= 180) {
		return fmt.Errorf("<%s> has no latitude and longitude", name)
	}
	return nil
}

func (p *gpxParser) end() error {
	name := p.path[len(p.path)-1]
	p.path = p.path[:len(p.path)-1]
	if p.at == nil {
		return nil
	}
	parent := ""
	if len(p.path) > 0 {
		parent = p.path[len(p.path)-1]
	}
	switch name {
	case "time":
		if parent != "trkpt" && parent != "rtept" && parent != "wpt" {
			return nil // of an extension
		}
		text := strings.TrimSpace(p.text.String())
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			at, err = time.Parse("2006-01-02T15:04:05.999999999", text) // some leave the zone out
		}
		if err != nil {
			return fmt.Errorf("<time> %q is not a time", clipped(text))
		}
		p.at.Time = at
	case "trkpt", "rtept", "wpt":
		p.lists[name] = append(p.lists[name], *p.at)
		p.at = nil
	}
	return nil
}

func clipped(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// route is a journey: its points, and how long after its begin each is reached.
type route struct {
	points []gpxPoint
	at     []time.Duration // when each point is reached
}

// newRoute plans when points are reached. Between two points that both have a time,
// in order, it takes as long as they say; elsewhere pace decides, in metres a
// second. Everything is then speed times as fast.
func newRoute(points []gpxPoint, speed, pace float64) route {
	r := route{points: points, at: make([]time.Duration, len(points))}
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		leg := b.Time.Sub(a.Time).Seconds()
		if a.Time.IsZero() || b.Time.IsZero() || leg < 0 {
			leg = distance(a, b) / pace
		}
		step := time.Duration(min(leg/speed, 1e6) * float64(time.Second))
		r.at[i] = min(r.at[i-1]+step, longest)
	}
	return r
}

func radians(degrees float64) float64 { return degrees * math.Pi / 180 }

// distance is in metres on a sphere.
func distance(a, b gpxPoint) float64 {
	lat, lon := math.Sin(radians(b.Lat-a.Lat)/2), math.Sin(radians(b.Lon-a.Lon)/2)
	h := lat*lat + math.Cos(radians(a.Lat))*math.Cos(radians(b.Lat))*lon*lon
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}

// between returns a place on the way from a to b, the short way round the earth.
// part is 0 for a and 1 for b.
func between(a, b gpxPoint, part float64) (lat, lon float64) {
	dlon := b.Lon - a.Lon
	switch {
	case dlon > 180:
		dlon -= 360
	case dlon < -180:
		dlon += 360
	}
	lon = a.Lon + part*dlon
	switch {
	case lon > 180:
		lon -= 360
	case lon < -180:
		lon += 360
	}
	return a.Lat + part*(b.Lat-a.Lat), lon
}

// play calls move with each point when its time has come, and with places in
// between once a second. It skips a point when the next one is due already. It
// returns after the last point, when ctx ends, or with an error of move.
func (r route) play(ctx context.Context, move func(lat, lon float64) error) error {
	begin := time.Now()
	last := len(r.points) - 1
	for i := 0; ; i++ {
		for i < last && r.at[i+1] <= time.Since(begin) {
			i++
		}
		if err := move(r.points[i].Lat, r.points[i].Lon); err != nil {
			return err
		}
		if i == last {
			return nil
		}
		if err := r.leg(ctx, begin, i, move); err != nil {
			return err
		}
	}
}

// leg goes from point i to the next one and returns when that is due.
func (r route) leg(
	ctx context.Context, begin time.Time, i int, move func(lat, lon float64) error,
) error {
	a, b := r.points[i], r.points[i+1]
	still := a.Lat == b.Lat && a.Lon == b.Lon
	for {
		now := time.Since(begin)
		rest := r.at[i+1] - now
		step := rest
		if !still && rest > stepTime {
			step = stepTime
		}
		if err := sleep(ctx, step); err != nil {
			return err
		}
		if step == rest {
			return nil
		}
		now = time.Since(begin)
		if now >= r.at[i+1] {
			return nil
		}
		if err := move(between(a, b, float64(now-r.at[i])/float64(r.at[i+1]-r.at[i]))); err != nil {
			return err
		}
	}
}

// sleep waits unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
