//go:build race

package virtual_test

// raced says that the race detector is on. It multiplies the memory, so that tests do not
// measure it.
const raced = true
