package log

import (
	"strconv"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// template is a line that a process writes again and again. Its message has
// placeholders: {n} for a small number, {p} for a percentage, {x} for 32 bits and
// {X} for 64 bits in hexadecimal, {u} for a UUID, {app} for a bundle identifier.
type template struct {
	process, image      string // image "" is the executable
	subsystem, category string
	level               Level
	message             string
}

// apparent are the bundle identifiers that {app} stands for.
var apparent = []string{
	"com.apple.mobilesafari", "com.apple.MobileSMS", "com.example.notes", "com.apple.springboard",
	"com.example.reader",
}

func imageUUIDs(build string) [][16]byte {
	out := make([][16]byte, len(templates))
	for i, t := range templates {
		if t.image != "" {
			out[i] = identity.UUID(t.image, build)
		}
	}
	return out
}

// lines makes the next n lines, with times spread evenly over the span. One
// allocation holds all of them.
func (l *Log) lines(n int, from time.Time, span time.Duration) []*Entry {
	first := l.gen.count.Add(uint64(n)) - uint64(n)
	mach, images := l.o.Clock.MachTimeAt(from), l.gen.images()
	block, out := make([]Entry, n), make([]*Entry, n)
	buf := make([]byte, 0, 256)
	for i := range block {
		e := &block[i]
		r := files.Mix(l.o.Identity.Seed ^ (first+uint64(i))*0x9E3779B97F4A7C15)
		k := int(r >> 8 % uint64(len(templates)))
		t := &templates[k]
		sender, ok := l.o.ByName(t.process)
		if !ok {
			sender, _ = l.o.ByPID(1) // launchd, if an app does not run
		}
		at := span * time.Duration(i) / time.Duration(n)
		buf = t.fill(e, buf[:0], sender, r)
		e.Time = from.Add(at)
		e.MachTime = mach + clock.MachTicks(at)
		e.ImageUUID = images[k]
		if t.image == "" {
			e.ImageUUID = e.ProcessUUID
		}
		out[i] = e
	}
	return out
}

// fill fills in e from the template. buf is scratch space.
func (t *template) fill(e *Entry, buf []byte, from Sender, r uint64) []byte {
	e.PID, e.ProcessPath, e.ProcessUUID = from.PID, from.Path, from.UUID
	e.ImagePath = t.image
	if t.image == "" {
		e.ImagePath = from.Path
	}
	e.Level, e.Subsystem, e.Category = t.level, t.subsystem, t.category
	e.ThreadID = uint64(from.PID)*16 + r>>20%7
	if r>>40%8 == 0 {
		e.ActivityID = 0x8000000000000000 | r>>44
	}
	e.ImageOffset = uint32(r>>30) & 0x3FFFF &^ 3
	buf = expand(buf, t.message, files.Mix(r))
	e.Message = string(buf)
	return buf
}

// expand replaces the placeholders.
func expand(buf []byte, s string, r uint64) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '{' {
			buf = append(buf, s[i])
			continue
		}
		switch {
		case strings.HasPrefix(s[i:], "{app}"):
			buf = append(buf, apparent[r%uint64(len(apparent))]...)
			i += 4
		case len(s) >= i+3 && s[i+2] == '}':
			buf = expandLetter(buf, s[i+1], r)
			i += 2
		default:
			buf = append(buf, '{')
			continue
		}
		r = files.Mix(r)
	}
	return buf
}

func expandLetter(buf []byte, letter byte, r uint64) []byte {
	switch letter {
	case 'n':
		return strconv.AppendUint(buf, r%4096, 10)
	case 'p':
		return strconv.AppendUint(buf, r%101, 10)
	case 'x':
		return strconv.AppendUint(append(buf, "0x"...), r&0xFFFFFFFF, 16)
	case 'X':
		return strconv.AppendUint(append(buf, "0x"...), r|1<<60, 16)
	case 'u':
		return append(buf, identity.UUIDText(identity.UUID(strconv.FormatUint(r, 36)))...)
	}
	return append(buf, '{', letter, '}')
}

// seedHistory adds the lines from before the first use of the log, unless the
// daemons log nothing by themselves. The caller holds mu.
func (l *Log) seedHistory() {
	if l.seeded || l.rate <= 0 {
		return
	}
	l.seeded = true
	if len(l.ring) > historySize-backlog {
		return
	}
	end := l.o.Clock.Now()
	if len(l.ring) > 0 {
		end = l.ring[0].Time
	}
	const span = 3 * time.Second
	l.ring = append(l.lines(backlog, end.Add(-span), span), l.ring...)
}
