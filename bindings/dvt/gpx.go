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

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	maxGPX      = 32 << 20 // most bytes of a file
	maxPoints   = 1 << 18  // most points of a file
	maxGPXDepth = 64       // how deep the elements of a file may nest
	// maxGPXToken bounds each tag with its attributes, each comment and each text. The
	// decoder needs many times their length in memory.
	maxGPXToken = 1 << 20

	// stepTime is the time between two moves on the way from one point to the next.
	stepTime    = time.Second
	walkingPace = 1.4       // metres per second
	earthRadius = 6371000.0 // metres
	// longest bounds the time of a journey, so that sums of durations do not overflow.
	longest = 365 * 24 * time.Hour
)

// gpxPoint is a point of a GPX file and the time at which it was reached. The time is
// zero if it is unknown.
type gpxPoint struct {
	Lat, Lon float64
	Time     time.Time
}

// gpxLists holds the names of the elements that are points. The points of the track are
// used if there is one, then those of the route, then the waypoints, which are what Xcode
// writes.
var gpxLists = []string{"trkpt", "rtept", "wpt"}

// parseGPX returns the points of a GPX file in their order. The file may have at most
// limit bytes.
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

// tokenReader bounds the number of bytes that are read for one token of XML.
type tokenReader struct {
	r    io.Reader
	left int // how many more bytes may be read for the current token
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

// gpxParser holds the state of parseGPX.
type gpxParser struct {
	dec   *xml.Decoder
	token *tokenReader // dec reads from it
	begun bool         // whether the element gpx was read
	path  []string     // names of the open elements
	lists map[string][]gpxPoint
	count int             // number of points
	at    *gpxPoint       // the open point, nil outside of points
	text  strings.Builder // text of the element time
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
	p.count++
	if p.count > maxPoints {
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
			return nil // the element belongs to an extension
		}
		text := strings.TrimSpace(p.text.String())
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			// The zone may be missing.
			at, err = time.Parse("2006-01-02T15:04:05.999999999", text)
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

// clipped shortens s for an error message.
func clipped(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// journey is a list of points and the times at which they are reached.
type journey struct {
	points []gpxPoint
	at     []time.Duration // time from the start to each point
}

// newJourney computes when each point is reached. If two successive points have times
// that do not decrease, the time between them is used. Otherwise it follows from the
// distance and pace, in metres per second. All times are divided by speed.
func newJourney(points []gpxPoint, speed, pace float64) journey {
	r := journey{points: points, at: make([]time.Duration, len(points))}
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

// distance returns the great-circle distance of two points in metres.
func distance(a, b gpxPoint) float64 {
	lat, lon := math.Sin(radians(b.Lat-a.Lat)/2), math.Sin(radians(b.Lon-a.Lon)/2)
	h := lat*lat + math.Cos(radians(a.Lat))*math.Cos(radians(b.Lat))*lon*lon
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}

// between returns the location at a fraction of the way from a to b: part is 0 for a and
// 1 for b. It crosses the 180th meridian if that way is shorter.
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

// play calls move with each point at its time, and with locations in between once a
// second. It skips a point if the next one is already due. It returns after the last
// point, when ctx ends, or when move returns an error.
func (r journey) play(ctx context.Context, move func(lat, lon float64) error) error {
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

// leg calls move with locations between point i and the next one. It returns when the
// next point is due.
func (r journey) leg(
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
		if err := link.Sleep(ctx, step); err != nil {
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
