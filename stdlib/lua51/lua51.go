// Package lua51 holds the libraries of Lua 5.1 that do not need the insides of the host.
//
//	lua51.Open(h) // h has math, os, io and debug now
package lua51

import "github.com/imdlua/imdlua/runtime/host"

// Open gives the scripts of h the libraries.
func Open(h *host.Host) {
	openMath(h)
	openOS(h)
	openIO(h)
	openDebug(h)
}
