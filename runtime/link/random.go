package link

import (
	"crypto/rand"
	"fmt"
	"io"
)

// Fill fills b with bytes from r, or from crypto/rand if r is nil. A layer that uses
// random bytes has such a reader in its options, so that a recorded exchange can be
// replayed exactly. Fill panics if r fails, which crypto/rand does not.
func Fill(r io.Reader, b []byte) {
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, b); err != nil {
		panic("link: random bytes: " + err.Error())
	}
}

// UUIDText returns a UUID as UUID does, in upper case, which is the form of HostID and
// SystemBUID.
func UUIDText(r io.Reader) string {
	u := UUID(r)
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// UUID returns a version 4 UUID made of random bytes from r; see Fill.
func UUID(r io.Reader) (u [16]byte) {
	Fill(r, u[:])
	u[6], u[8] = u[6]&0x0F|0x40, u[8]&0x3F|0x80
	return u
}
