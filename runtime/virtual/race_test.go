//go:build race

package virtual_test

// raced: the race detector multiplies memory, which is not to be measured then.
const raced = true
