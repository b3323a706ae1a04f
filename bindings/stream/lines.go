package stream

import "strings"

// maxLine is the most that is kept of a line that has not ended.
const maxLine = 64 << 10

// Lines cuts text that arrives in pieces into lines, without their ends.
type Lines struct{ rest string }

// Add pushes the lines that text completes. A line that becomes too long is pushed in
// pieces.
func (l *Lines) Add(text string, push func(...any)) {
	l.rest += text
	for {
		line, after, ok := strings.Cut(l.rest, "\n")
		if !ok {
			break
		}
		push(strings.TrimSuffix(line, "\r"))
		l.rest = after
	}
	if len(l.rest) > maxLine {
		l.End(push)
	}
}

// End pushes a last line that has no end.
func (l *Lines) End(push func(...any)) {
	if l.rest != "" {
		push(l.rest)
	}
	l.rest = ""
}
