package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// The default limits of scripts. They are those of a host whose options are empty.
const (
	defaultMaxMemory size = 1 << 30
	defaultMaxString size = 256 << 20
)

func (g *globals) registerLimits(f *pflag.FlagSet) {
	g.maxMemory, g.maxString = defaultMaxMemory, defaultMaxString
	f.Var(&g.maxMemory, "max-memory",
		"end a script that uses more memory than this `size`, such as 512M or 2G")
	f.Var(&g.maxString, "max-string", "the `size` of the longest string that a call may make")
	f.Var(&g.maxInstructions, "max-instructions",
		"end a script after this number of `instructions` of the Lua machine")
}

// size is a number of bytes that is written with or without a unit.
type size uint64

// sizeUnits are powers of 1024, the largest first.
var sizeUnits = []struct {
	letter string
	bytes  uint64
}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

var errSize = errors.New("want a number of bytes above 0, or one with K, M, G or T like 512M")

// Set accepts "512M", "512MB" and the form that String returns, "512 MiB".
func (s *size) Set(text string) error {
	number := strings.ToUpper(text)
	unit := uint64(1)
	for _, u := range sizeUnits {
		for _, suffix := range []string{u.letter + "IB", u.letter + "B", u.letter} {
			before, found := strings.CutSuffix(number, suffix)
			if found && unit == 1 {
				number, unit = strings.TrimSpace(before), u.bytes
			}
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64/unit {
		return errSize
	}
	*s = size(n * unit)
	return nil
}

func (s *size) String() string {
	for _, u := range sizeUnits {
		if *s > 0 && uint64(*s)%u.bytes == 0 {
			return fmt.Sprintf("%d %siB", uint64(*s)/u.bytes, u.letter)
		}
	}
	return strconv.FormatUint(uint64(*s), 10)
}

// Type returns the name of the value in the help text.
func (s *size) Type() string { return "size" }

// count is a number of instructions; 0 means no limit.
type count uint64

func (c *count) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return errors.New("want a whole number above 0")
	}
	*c = count(n)
	return nil
}

func (c *count) String() string {
	if *c == 0 {
		return "none"
	}
	return strconv.FormatUint(uint64(*c), 10)
}

// Type returns the name of the value in the help text.
func (c *count) Type() string { return "number" }
