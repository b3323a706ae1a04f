package compile_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host/compile"
)

// syntaxSample contains every construct of the language. TestSyntaxErrors damages it.
const syntaxSample = `local a, b = 1, "two"
local function f(x, ...)
	local t = { 1, x = 2, [3] = "c"; f = function() return ... end }
	if x == 1 and not t.x then
		return -x ^ 2 .. "z"
	elseif x then
		t.x, t[1] = f(x), #t
	else
		t:m(1, 2).y = nil
	end
	while x < 10 do x = x + 1 if x then break end end
	repeat local u = x until u >= 2
	for i = 1, 10, 2 do g(i) end
	for k, v in pairs(t) do print(k, v) end
	return f "text", f { 1 }, f [[ long ]], f [==[]]]==]
end
function a.b.c:d(...) return (...), true, false end
do -- comment
	local s = 'q' --[[ long
comment ]]
	x = (a) % 2 / 3 * 4 - 5 <= 6 ~= 7
end
return f(a, b)
`

var sampleTokens = regexp.MustCompile(
	`\[\[[^\]]*\]\]|"[^"]*"|'[^']*'|\w+|\.\.\.|\.\.|[~<>=]=|--[^\n]*|\s+|.`,
)

// damaged returns the sample after one or two random changes to its tokens.
func damaged(r *rand.Rand, tokens []string) string {
	out := append([]string(nil), tokens...)
	for range 1 + r.IntN(2) {
		i, j := r.IntN(len(out)), r.IntN(len(tokens))
		switch r.IntN(5) {
		case 0:
			out[i] = ""
		case 1:
			out[i] = tokens[j] + " "
		case 2:
			out[i] += " " + tokens[j] + " "
		case 3:
			k := min(i+1+r.IntN(3), len(out)-1)
			out[i], out[k] = out[k], out[i]
		case 4:
			out = out[:i+1]
		}
	}
	return strings.Join(out, "")
}

var syntaxSources = flag.Int(
	"syntax.sources",
	3000,
	"how many damaged sources are compared with lua5.1",
)

// onPurpose holds messages of lua5.1 for sources for which Compile gives another answer
// on purpose, with the reasons.
var onPurpose = map[string]string{
	"unexpected symbol near ';'":                "empty statements are accepted",
	"nesting of [[...]] is deprecated near '['": "brackets in long strings are accepted",
	"unfinished long":                           "the message here says where the text begins",
}

func differsOnPurpose(message string) bool {
	for part := range onPurpose {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}

// TestSyntaxErrors compares the error texts for damaged sources with those of lua5.1.
func TestSyntaxErrors(t *testing.T) {
	lua := installed(t, "lua5.1")
	r := rand.New(rand.NewPCG(1, 2))
	tokens := sampleTokens.FindAllString(syntaxSample, -1)
	sources := []string{syntaxSample}
	for len(sources) < *syntaxSources {
		sources = append(sources, damaged(r, tokens))
	}
	var script strings.Builder
	for _, s := range sources {
		fmt.Fprintf(
			&script,
			"print((string.gsub(select(2, loadstring(%s, '=t')) or 'ok', '\\n.*', '')))\n",
			decimal(s),
		)
	}
	file := filepath.Join(t.TempDir(), "sources.lua")
	if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(lua, file).Output()
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	for i, want := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		got := "ok"
		if _, err := compile.Compile("t", sources[i]); err != nil {
			got = fmt.Sprintf("t:%d: %s", err.Line, err.Message)
		}
		if comparable(got) != comparable(want) && !differsOnPurpose(want) {
			t.Errorf("gives %q, want %q; source:\n%s", got, want, sources[i])
			failures++
			if failures == 8 {
				t.Fatal("too many failures")
			}
		}
	}
}

var endOfFile = regexp.MustCompile(`^t:\d+:(.*)near '<eof>'$`)

// comparable removes the line of an error at the end of the source. Compile returns the
// line of the last token there, which lua5.1 does not.
func comparable(message string) string {
	return endOfFile.ReplaceAllString(message, "t:$1")
}

// decimal quotes a text for Lua, with decimal escape sequences.
func decimal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "\\%03d", c)
	}
	b.WriteByte('"')
	return b.String()
}
