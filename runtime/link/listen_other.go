//go:build !unix

package link

// ownerOnly does nothing: the folder of the socket decides who can use it.
func ownerOnly(uintptr) {}
