// Package version holds versions such as 17.4.1 and their script class. Bindings may return a
// *Version; the script module version declares the class.
package version

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
)

// maxParts and maxText limit the texts that Parse accepts.
const (
	maxParts = 8
	maxText  = 100
)

// Version is a list of numbers. Parts that are missing count as 0, so that 17 equals 17.0.
type Version struct {
	text  string
	parts []uint32
}

// Parse reads numbers separated by dots, as in "17.4.1". The error has the code "value".
func Parse(text string) (*Version, error) {
	if len(text) > maxText {
		return nil, host.Errorf("value", "version: a text of %d bytes is not a version", len(text))
	}
	fields := strings.Split(text, ".")
	if len(fields) > maxParts {
		return nil, host.Errorf("value", "version: %q has more than %d parts", text, maxParts)
	}
	v := &Version{text: text}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			e := host.Errorf("value", "version: part %d of %q is not a number", i+1, text)
			return nil, e.WithHint(`a version consists of numbers and dots, as in "17.4.1"`)
		}
		v.parts = append(v.parts, uint32(n))
	}
	return v, nil
}

// Of returns the version that a device reports. Unlike Parse it accepts every text, and uses the
// numbers before the first part that is not a number. It returns nil for an empty text.
func Of(text string) *Version {
	if text == "" {
		return nil
	}
	v := &Version{text: text}
	for f := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil || len(v.parts) == maxParts {
			break
		}
		v.parts = append(v.parts, uint32(n))
	}
	return v
}

// String returns the text that was parsed.
func (v *Version) String() string { return v.text }

// MarshalText returns the text. Encoders of Go and the printer of records use it.
func (v *Version) MarshalText() ([]byte, error) { return []byte(v.text), nil }

// LuaToGo returns the text, for encoders.
func (v *Version) LuaToGo() any { return v.text }

// versionKey is the key of a version: its numbers, filled up with zeros.
type versionKey [maxParts]uint32

// Key returns the same value for versions that are equal.
func (v *Version) Key() any {
	var k versionKey
	copy(k[:], v.parts)
	return k
}

// Part returns the number at index i, or 0 if there is none.
func (v *Version) Part(i int) int {
	if i >= len(v.parts) {
		return 0
	}
	return int(v.parts[i])
}

// Compare returns -1 if v is older than w, 0 if they are equal, and 1 if v is newer.
func (v *Version) Compare(w *Version) int {
	for i := range max(len(v.parts), len(w.parts)) {
		if c := cmp.Compare(v.Part(i), w.Part(i)); c != 0 {
			return c
		}
	}
	return 0
}

// AtLeast reports whether v is text or newer.
func (v *Version) AtLeast(text string) (bool, error) {
	w, err := Parse(text)
	if err != nil {
		return false, fmt.Errorf("compare with %s: %w", v, err)
	}
	return v.Compare(w) >= 0, nil
}
