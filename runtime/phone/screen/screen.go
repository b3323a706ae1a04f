// Package screen has the screen of the phone: its contents, and the lock with its passcode.
package screen

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"strconv"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// ErrPasswordProtected means that the phone is locked with a passcode.
var ErrPasswordProtected = errors.New("device is locked with a passcode")

// Options of a Screen.
type Options struct {
	Identity *identity.Identity
	// Contents says what an unlocked screen shows.
	Contents func() Contents
	// Changed is called when the screen was locked or unlocked.
	Changed func(locked bool)
}

// Screen is the screen of a phone. All methods may be called concurrently.
type Screen struct {
	o Options

	mu     sync.RWMutex
	locked bool
	pass   bool // a passcode is set
	opened bool // unlocked since boot

	picture picture
}

// picture keeps the last picture, so that a screen that has not changed is not drawn
// again.
type picture struct {
	mu    sync.Mutex
	shown []byte // the picture of Show, or nil
	key   string
	last  []byte
}

// New returns a screen that is unlocked and has no passcode.
func New(o Options) *Screen { return &Screen{o: o, opened: true} }

// Boot locks a screen with a passcode and unlocks any other.
func (s *Screen) Boot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = s.pass
	s.opened = !s.pass
}

// Lock locks the screen. This affects hosts only if there is a passcode.
func (s *Screen) Lock() { s.setLocked(true) }

// Unlock unlocks the screen, with the passcode if there is one.
func (s *Screen) Unlock() { s.setLocked(false) }

func (s *Screen) setLocked(locked bool) {
	s.mu.Lock()
	changed := s.locked != locked
	s.locked = locked
	s.opened = s.opened || !locked
	s.mu.Unlock()
	if changed {
		s.o.Changed(locked)
	}
}

// Locked reports whether the phone is locked with a passcode. It returns false if
// the screen is locked but there is no passcode.
func (s *Screen) Locked() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.locked && s.pass
}

// CheckUnlocked returns ErrPasswordProtected if the phone is Locked.
func (s *Screen) CheckUnlocked() error {
	if s.Locked() {
		return ErrPasswordProtected
	}
	return nil
}

// UnlockedSinceBoot reports whether the phone was unlocked since Boot. Before that,
// escrow bags have no effect.
func (s *Screen) UnlockedSinceBoot() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.opened
}

// SetPasscode sets or removes the passcode.
func (s *Screen) SetPasscode(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass = on
}

// HasPasscode reports whether a passcode is set.
func (s *Screen) HasPasscode() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pass
}

// On reports whether the screen is lit: a locked phone turns it off.
func (s *Screen) On() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.locked
}

// Display is a screen of the phone.
type Display struct {
	ID            int
	Name          string
	UniqueID      string
	Primary       bool
	Width, Height int     // pixels
	Scale         float64 // pixels of a point
}

// Displays returns the screens of the phone. There is only the built-in one.
func (s *Screen) Displays() []Display {
	width, height := s.Size()
	return []Display{{
		ID: 1, Name: "LCD", UniqueID: strconv.Itoa(1), Primary: true, Width: width, Height: height,
		Scale: s.o.Identity.ScreenScale(),
	}}
}

// Size is the size of the screen in pixels.
func (s *Screen) Size() (width, height int) {
	return int(s.o.Identity.Width), int(s.o.Identity.Height)
}

// Orientation returns the orientation of the screen, and whether the user has locked
// it. It is always "portrait".
func (s *Screen) Orientation() (orientation string, fixed bool) { return "portrait", false }

// Show shows a PNG picture instead of the normal contents of the screen. nil shows
// these again. Show returns fs.ErrInvalid if picture is not a PNG.
func (s *Screen) Show(picture []byte) error {
	if picture != nil {
		if _, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil {
			return failure.Wrap("show picture", "", fmt.Errorf("%w: %v", fs.ErrInvalid, err))
		}
	}
	s.picture.mu.Lock()
	defer s.picture.mu.Unlock()
	s.picture.shown = bytes.Clone(picture)
	return nil
}

// Screenshot returns a PNG picture of the screen: the app in front, the home screen
// or the lock screen.
func (s *Screen) Screenshot() ([]byte, error) {
	v := view{s.Locked(), s.o.Contents()}
	p := &s.picture
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown != nil {
		return bytes.Clone(p.shown), nil
	}
	if key := fmt.Sprint(v); key != p.key {
		var b bytes.Buffer
		e := png.Encoder{CompressionLevel: png.BestSpeed}
		if err := e.Encode(&b, v.draw(s.Size())); err != nil {
			return nil, failure.Wrap("screenshot", "", err)
		}
		p.key, p.last = key, b.Bytes()
	}
	return bytes.Clone(p.last), nil
}
