package lua51_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib"
)

// answerer defines answer. This function applies find, match, gsub and gmatch to one request, which
// is three texts in hexadecimal, and returns all results or error texts as one line.
const answerer = `
local function decode(s)
	return (s:gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end))
end
local function show(v)
	if type(v) ~= "string" then return tostring(v) end
	return '"' .. v:gsub("[^%w]", function(c) return ("\\%02x"):format(c:byte()) end) .. '"'
end
local function list(ok, ...)
	local parts = {}
	for i = 1, select("#", ...) do parts[i] = show((select(i, ...))) end
	local line = table.concat(parts, " ")
	if not ok then
		line = "error " .. tostring((...)):gsub("^[^\n]-:%d+: ", "")
	end
	return line
end
local function all(s, pattern)
	local parts = {}
	for a, b, c in s:gmatch(pattern) do
		parts[#parts + 1] = show(a) .. show(b) .. show(c)
		if #parts > 50 then break end
	end
	return table.concat(parts, ",")
end
function answer(line)
	local pattern, s, replacement = line:match("^(%x*) (%x*) (%x*)$")
	pattern, s, replacement = decode(pattern), decode(s), decode(replacement)
	local n = tonumber(#s % 5) - 1
	return table.concat({
		list(pcall(string.find, s, pattern)), list(pcall(string.find, s, pattern, n)),
		list(pcall(string.match, s, pattern)), list(pcall(string.gsub, s, pattern, replacement)),
		list(pcall(string.gsub, s, pattern, replacement, n)),
		list(pcall(string.gsub, s, pattern, function(...) return select("#", ...) end)),
		list(pcall(string.gsub, s, pattern, { a = "x", ab = 1, b = false })),
		list(pcall(all, s, pattern)),
	}, " | ")
end
`

// request writes one request for answerer.
func request(pattern, subject, replacement string) string {
	return hex.EncodeToString([]byte(pattern)) + " " + hex.EncodeToString([]byte(subject)) + " " +
		hex.EncodeToString([]byte(replacement))
}

// child is a process of lua5.1 that answers requests over its pipes.
type child struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func newChild(t testing.TB) *child {
	t.Helper()
	cmd := exec.Command(reference(t), "-e", answerer+
		`io.stdout:setvbuf("line") for line in io.lines() do print(answer(line)) end`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &child{in: in, out: bufio.NewReader(out)}
}

func (c *child) answer(t testing.TB, line string) string {
	t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("lua5.1 ended at %s: %v", line, err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// answerHost is a host that answers the same requests.
type answerHost struct {
	run    *host.Interactive
	answer string
}

func newAnswerHost(t testing.TB) *answerHost {
	t.Helper()
	h := host.New(host.Options{})
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	s := &answerHost{}
	h.SetGlobal("say", h.L().NewFunction(func(L *lua.LState) int {
		s.answer = L.CheckString(1)
		return 0
	}))
	s.run = h.Interactive(t.Context())
	t.Cleanup(func() {
		s.run.Close()
		h.Close()
	})
	if _, err := s.run.Eval(t.Context(), "answer.lua", answerer); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask answers many requests at once.
func (s *answerHost) ask(t testing.TB, lines string) string {
	t.Helper()
	source := `local out = {} for line in ("` + lines + `"):gmatch("[^,]+") do
		out[#out + 1] = answer(line) end say(table.concat(out, "\n"))`
	if _, err := s.run.Eval(t.Context(), "ask.lua", source); err != nil {
		t.Fatal(err)
	}
	return s.answer
}

// pieces lists the parts of random patterns.
var pieces = []string{
	"a", "b", "c", ".", "%a", "%d", "%s", "%w", "%W", "%p", "%z", "%x", "[ab]", "[^a]", "[a-c]",
	"[%a_]", "[]]", "[^]]", "[a-]", "[%d-z]", "(", ")", "()", "(a", "b)", "(.)", "(a*)", "(.-)",
	"%1", "%2", "%b()", "%bab", "%f[%a]", "%f[^a]", "^", "$", "*", "+", "-", "?", "a*", "b+",
	".-", ".*", "a?", "%.", "%%", "%-", "[", "]", "[^", "%", "%f", "%b", " ", "1", "\xff",
}

var subjects = []string{
	"a", "b", "c", "ab", "(", ")", "]", "-", ".", "%", " ", "1", "_",
	"\xff", "\x00",
}

var replacements = []string{"x", "%0", "%1", "%2", "%%", "-", "%a", ""}

// randomText joins up to most parts of a list.
func randomText(r *rand.Rand, parts []string, most int) string {
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}

// TestRandomPatterns compares 20,000 random patterns and subjects with lua5.1.
func TestRandomPatterns(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 1))
	lines := make([]string, 20000)
	for i := range lines {
		lines[i] = request(randomText(r, pieces, 6), randomText(r, subjects, 12),
			randomText(r, replacements, 3))
	}
	source := answerer + `for line in ("` + strings.Join(lines, ",") + `"):gmatch("[^,]+") do
		print(answer(line)) end`
	want := strings.Split(runReference(t, source), "\n")
	got := strings.Split(newAnswerHost(t).ask(t, strings.Join(lines, ",")), "\n")
	if len(got) != len(lines) {
		t.Fatalf("%d answers for %d requests", len(got), len(lines))
	}
	if len(want) != len(lines)+1 { // the last line is empty
		t.Fatalf("%d answers of lua5.1 for %d requests", len(want)-1, len(lines))
	}
	differences := 0
	for i, line := range lines {
		if got[i] == want[i] {
			continue
		}
		differences++
		if differences <= 10 {
			t.Errorf("%s\ngave %s\nwant %s", readable(line), got[i], want[i])
		}
	}
	if differences > 0 {
		t.Errorf("%d of %d requests differ", differences, len(lines))
	}
}

// readable shows the texts of a request.
func readable(line string) string {
	var parts []string
	for part := range strings.SplitSeq(line, " ") {
		b, err := hex.DecodeString(part)
		if err != nil {
			return line
		}
		parts = append(parts, fmt.Sprintf("%q", b))
	}
	return strings.Join(parts, " ")
}

// endsInPercent reports whether no character follows the last percent sign of s.
func endsInPercent(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			i++
			if i == len(s) {
				return true
			}
		}
	}
	return false
}

// FuzzPatterns compares any pattern, subject and replacement with lua5.1.
func FuzzPatterns(f *testing.F) {
	f.Add("(%w+)%s*=%s*(%w+)", "key = value", "%2=%1")
	f.Add("^%s*(.-)%s*$", "  trim  ", "%1")
	f.Add("%f[%a]%a+", "THE (quick) fox", "%0")
	f.Add("%b()", "f(a(b)c)d", "")
	f.Add("()a()", "banana", "%1-%2")
	f.Add("(a*(.)%w(%s*))", "aa bb a", "%3")
	f.Add("[^%]-z]+", "a]-z", "x")
	f.Add("(", "a", "%%")
	f.Add("%", "%", "a")
	f.Add("[a", "a", "a")
	process, ours := newChild(f), newAnswerHost(f)
	f.Fuzz(func(t *testing.T, pattern, subject, replacement string) {
		repetitions := 0
		for _, c := range []byte(pattern) {
			if strings.IndexByte("*+-?", c) >= 0 {
				repetitions++
			}
		}
		switch {
		case repetitions > 5 || len(subject) > 40 || len(replacement) > 40:
			t.Skip("some patterns take exponential time")
		case strings.ContainsRune(pattern, 0) || strings.ContainsRune(replacement, 0):
			t.Skip("lua5.1 ends patterns at a zero")
		case endsInPercent(replacement):
			t.Skip("lua5.1 writes a zero for a percent sign at the end")
		}
		line := request(pattern, subject, replacement)
		got, want := ours.ask(t, line), process.answer(t, line)
		if got != want {
			t.Errorf("%s\ngave %s\nwant %s", readable(line), got, want)
		}
	})
}
