package api

import (
	"fmt"
	"regexp"
	"strings"
)

// Glob is a compiled file name pattern for local files and files of the device. ? and * match
// within one part of the path, ** matches any number of parts, [a-z] is a set and {a,b} are
// alternatives.
type Glob struct {
	re   *regexp.Regexp
	base string
}

// maxGlob is the largest length of a pattern.
const maxGlob = 4096

// CompileGlob compiles a pattern.
func CompileGlob(pattern string) (*Glob, error) {
	if len(pattern) > maxGlob {
		return nil, fmt.Errorf("glob: pattern longer than %d bytes", maxGlob)
	}
	re, err := globRegexp(pattern)
	if err != nil {
		return nil, fmt.Errorf("glob: pattern %q: %w", pattern, err)
	}
	fixed := pattern
	if i := strings.IndexAny(pattern, `*?[{\`); i >= 0 {
		fixed = pattern[:i]
		fixed = fixed[:strings.LastIndexByte(fixed, '/')+1]
	}
	return &Glob{re: re, base: fixed}, nil
}

// Match reports whether the pattern matches a path with / between its parts.
func (g *Glob) Match(path string) bool { return g.re.MatchString(path) }

// Base returns the folder that contains all matches: the pattern up to the last / before its first
// wildcard.
func (g *Glob) Base() string { return g.base }

func globRegexp(p string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	depth := 0
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case strings.HasPrefix(p[i:], "**/"):
			b.WriteString(`(?:[^/]*/)*`)
			i += 2
		case strings.HasPrefix(p[i:], "**"):
			b.WriteString(`.*`)
			i++
		case c == '*':
			b.WriteString(`[^/]*`)
		case c == '?':
			b.WriteString(`[^/]`)
		case c == '{':
			depth++
			b.WriteString(`(?:`)
		case c == '}' && depth > 0:
			depth--
			b.WriteString(`)`)
		case c == ',' && depth > 0:
			b.WriteString(`|`)
		case c == '[':
			end := strings.IndexByte(p[i+1:], ']')
			if end < 1 {
				return nil, fmt.Errorf("set without ]")
			}
			set := p[i+1 : i+1+end]
			b.WriteByte('[')
			if set[0] == '!' || set[0] == '^' {
				b.WriteByte('^')
				set = set[1:]
			}
			b.WriteString(strings.NewReplacer(`\`, `\\`, `[`, `\[`, `^`, `\^`).Replace(set) + `]`)
			i += end + 1
		case c == '\\' && i+1 < len(p):
			i++
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	if depth > 0 {
		return nil, fmt.Errorf("{ without }")
	}
	return regexp.Compile(b.String() + `\z`)
}
