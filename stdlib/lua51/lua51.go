// Package lua51 holds the libraries of Lua 5.1 as the reference manual describes them. They
// replace the functions of gopher-lua that differ from it, that cannot be interrupted, or that
// need too much time or memory for large values. Functions that need internals of the host (pcall,
// coroutine, load, require, print) are in package host.
//
// The declare files hold their documentation, for help() and the reference.
//
//	lua51.Open(h) // h has string, table, math, os, io and debug now
package lua51

import "github.com/imdlua/imdlua/runtime/host"

// Open installs the libraries in h.
func Open(h *host.Host) {
	openString(h)
	openTable(h)
	openMath(h)
	openOS(h)
	openIO(h)
	openDebug(h)
}
