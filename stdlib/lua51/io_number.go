package lua51

import "strings"

// numberReader reads a number from a file as scanf does: the longest text that may be the beginning
// of a number. The bytes after it are not consumed.
type numberReader struct {
	f    *file
	text strings.Builder
	next byte
	ok   bool // whether next was read and is not used yet
}

// maxNumber is the length of the longest number that read("*n") accepts.
const maxNumber = 200

// readNumber returns the text of a number, and false if there is none.
func (f *file) readNumber() (string, bool, error) {
	r := &numberReader{f: f}
	for r.advance() && strings.IndexByte(" \t\r\n\v\f", r.next) >= 0 {
		r.ok = false
	}
	r.accept("+-")
	digits, exponent, found := "0123456789", "eE", false
	if r.accept("0") {
		found = true
		if r.accept("xX") {
			digits, exponent, found = "0123456789abcdefABCDEF", "pP", false
		}
	}
	found = r.run(digits) || found
	if r.accept(".") {
		found = r.run(digits) || found
	}
	if found && r.accept(exponent) {
		r.accept("+-")
		found = r.run("0123456789")
	}
	if r.ok {
		err := f.r.UnreadByte()
		if err != nil {
			return "", false, err
		}
	}
	return r.text.String(), found, nil
}

// advance reads the next byte. It returns false at the end of the file.
func (r *numberReader) advance() bool {
	if r.ok {
		return true
	}
	if r.text.Len() >= maxNumber {
		return false
	}
	c, err := r.f.r.ReadByte()
	r.next, r.ok = c, err == nil
	return r.ok
}

// accept consumes the next byte if it is in set.
func (r *numberReader) accept(set string) bool {
	if !r.advance() || strings.IndexByte(set, r.next) < 0 {
		return false
	}
	r.text.WriteByte(r.next)
	r.ok = false
	return true
}

// run consumes all bytes that are in set, and reports whether there was one.
func (r *numberReader) run(set string) bool {
	found := false
	for r.accept(set) {
		found = true
	}
	return found
}
