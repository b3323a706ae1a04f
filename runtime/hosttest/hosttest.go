// Package hosttest runs Lua text in a test.
package hosttest
