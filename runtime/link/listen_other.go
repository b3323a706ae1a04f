//go:build !unix

package link

// ownerOnly does nothing. The permissions of the folder protect the socket.
func ownerOnly(uintptr) {}
