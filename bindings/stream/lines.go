package stream

import "strings"

// maxLine is the most bytes that Lines keeps of a line that has not ended.
const maxLine = 64 << 10

// Lines splits text that arrives in pieces into lines. The lines have no line endings.
type Lines struct{ rest string }

// Add appends text and pushes each line that is complete. A line that becomes too long
// is pushed in pieces.
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

// End pushes the last line if it has no line ending.
func (l *Lines) End(push func(...any)) {
	if l.rest != "" {
		push(l.rest)
	}
	l.rest = ""
}
