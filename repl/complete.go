package repl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

const (
	// valuesTime limits how long Options.Values may take.
	valuesTime = 300 * time.Millisecond
	// listLimit is the largest number of candidates that are listed with their
	// descriptions.
	listLimit = 24
)

// complete is the Completer of the REPL. The editor calls it in its own goroutine.
func (r *repl) complete(line string, cursor int) (string, []string) {
	r.mu.Lock()
	text := r.pending + line[:cursor]
	r.mu.Unlock()
	if word, ok := strings.CutPrefix(text, ":"); ok && !strings.ContainsAny(word, " \n:") {
		return r.choose(word, r.commandNames())
	}
	if code, ok := strings.CutPrefix(text, "="); ok {
		text = code
	}
	var c api.Completion
	if !r.interactive.TryWith(peekTime, func(L *lua.LState) { c = r.index.Complete(L, text) }) {
		c = r.index.Complete(nil, text)
	}
	if c.Kind != "" && len(c.Items) == 0 {
		for _, v := range r.valuesOf(c.Kind) {
			if strings.HasPrefix(v, c.Word) {
				c.Items = append(c.Items, api.Candidate{Text: v})
			}
		}
	}
	return r.choose(c.Word, c.Items)
}

// choose selects the candidates that begin with word. It returns the text that all
// of them continue with, or, if there is none, the lines of a list of them.
func (r *repl) choose(word string, items []api.Candidate) (string, []string) {
	var fit []api.Candidate
	for _, it := range items {
		// A name with control characters comes from a device and cannot be typed.
		if strings.HasPrefix(it.Text, word) && visible.Line(it.Text) == it.Text {
			fit = append(fit, it)
		}
	}
	if len(fit) == 0 {
		return "", nil
	}
	common := fit[0].Text
	for _, it := range fit[1:] {
		for !strings.HasPrefix(it.Text, common) {
			common = common[:len(common)-1]
		}
	}
	common = strings.ToValidUTF8(common, "")
	if len(common) > len(word) || len(fit) == 1 {
		return common[len(word):], nil
	}
	return "", r.list(fit)
}

// list returns the lines of a list of candidates. They have their descriptions, or
// are in columns if there are many.
func (r *repl) list(items []api.Candidate) []string {
	width, longest := max(r.o.Width()-1, 20), 0
	for _, it := range items {
		longest = max(longest, runewidth.StringWidth(it.Text))
	}
	var out []string
	if len(items) <= listLimit {
		for _, it := range items {
			doc, _, _ := strings.Cut(it.Doc, "\n")
			line := fmt.Sprintf("  %s  %s", runewidth.FillRight(it.Text, longest), doc)
			out = append(out, strings.TrimRight(runewidth.Truncate(line, width, "..."), " "))
		}
		return out
	}
	columns := max(1, width/(longest+2))
	rows := (len(items) + columns - 1) / columns
	for row := range rows {
		line := ""
		for at := row; at < len(items); at += rows {
			line += "  " + runewidth.FillRight(items[at].Text, longest)
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return out
}

// valuesOf returns the values for strings of a kind. It calls Options.Values only
// once between two inputs.
func (r *repl) valuesOf(kind string) []string {
	if r.o.Values == nil {
		return nil
	}
	r.mu.Lock()
	known, ok := r.values[kind]
	r.mu.Unlock()
	if ok {
		return known
	}
	ctx, cancel := context.WithTimeout(context.Background(), valuesTime)
	defer cancel()
	found := r.o.Values(ctx, kind)
	if ctx.Err() != nil {
		return found // not stored, so that the next Tab asks again
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[kind] = found
	return found
}
