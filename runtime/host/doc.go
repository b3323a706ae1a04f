// Package host runs Lua scripts: one Lua state, one interpreter lock, tasks,
// scopes, errors, limits, and the conversion of values.
package host
