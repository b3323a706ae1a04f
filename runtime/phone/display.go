package phone

import "strconv"

// Display is a screen of the phone.
type Display struct {
	ID            int
	Name          string
	UniqueID      string
	Primary       bool
	Width, Height int     // pixels
	Scale         float64 // pixels of a point
}

// Displays lists the screens, which is the built-in one alone.
func (p *Phone) Displays() []Display {
	width, height := p.ScreenSize()
	scale, _ := p.Gestalt([]string{"main-screen-scale"}).Real("main-screen-scale")
	return []Display{{
		ID: 1, Name: "LCD", UniqueID: strconv.Itoa(1), Primary: true, Width: width, Height: height,
		Scale: scale,
	}}
}

// ScreenOn reports whether the screen is lit: a locked phone turns it off.
func (p *Phone) ScreenOn() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return !p.locked
}

// Orientation is how the phone is held and whether the user fixed the screen's
// orientation. This one lies upright.
func (p *Phone) Orientation() (orientation string, fixed bool) { return "portrait", false }
