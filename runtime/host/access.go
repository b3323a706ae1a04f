package host

import (
	lua "github.com/yuin/gopher-lua"
)

// Access is a kind of thing outside of the script that a call uses.
type Access string

// The kinds of access, each with the meaning of its value.
const (
	AccessRead   Access = "read"   // path of a file or folder of this computer
	AccessWrite  Access = "write"  // path of a file or folder of this computer
	AccessHost   Access = "net"    // host, host:port or address
	AccessExec   Access = "exec"   // name or path of a program
	AccessEnv    Access = "env"    // name of an environment variable
	AccessDevice Access = "device" // UDID, or "" before a device is chosen
	// AccessNone is checked by functions that need a permission but have no value
	// to ask about, such as those that use the working folder.
	AccessNone Access = "none"
)

// Accesses lists the kinds.
func Accesses() []Access {
	return []Access{
		AccessRead,
		AccessWrite,
		AccessHost,
		AccessExec,
		AccessEnv,
		AccessDevice,
		AccessNone,
	}
}

// Allow returns an error if the script may not use value. Every binding calls it
// before it uses anything outside of the script; parameters that declare an
// access call it by themselves. Without Options.Allow everything is allowed.
func Allow(L *lua.LState, access Access, value string) error {
	return hookOf(L).host.Allow(access, value)
}

// Allow is like the function Allow, for code that has no thread.
func (h *Host) Allow(access Access, value string) error {
	if h.o.Allow == nil {
		return nil
	}
	return h.o.Allow(access, value)
}

// allowed raises the error of Allow.
func allowed(L *lua.LState, access Access, value string) {
	if err := Allow(L, access, value); err != nil {
		Raise(L, err)
	}
}
