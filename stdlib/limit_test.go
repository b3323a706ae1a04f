package stdlib_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestTooLarge reads a file that is larger than the longest string.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 1001)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ source, limit, hint string }{
		{`fs.read(file)`, "1000", "--max-string"},
		{`fs.read(file, { max_size = 5000 })`, "1000", "--max-string"},
		{`fs.read(file, { max_size = 10 })`, "10", "max_size"},
		{`for line in fs.lines(file) do end`, "1000", "--max-string"},
		{`json.read(file)`, "1000", "--max-string"},
		{`plist.read(file)`, "1000", "--max-string"},
		{`require("imd.image").open(file)`, "1000", "--max-string"},
		{`require("imd.yaml").read(file)`, "1000", "--max-string"},
		{`require("imd.csv").read(file)`, "1000", "--max-string"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			source := "local file = " + quote(file) + "\n" + tc.source
			_, err := run(t, host.Options{MaxString: 1000}, source)
			var e *host.Error
			if !errors.As(err, &e) {
				t.Fatalf("error = %v, want a *host.Error", err)
			}
			if e.Code != "too_large" {
				t.Errorf("code = %q, want too_large", e.Code)
			}
			if !strings.Contains(e.Message, file) {
				t.Errorf("message = %q, want the path %q in it", e.Message, file)
			}
			if !strings.Contains(e.Message, "limit of "+tc.limit+" bytes") {
				t.Errorf("message = %q, want the limit %s in it", e.Message, tc.limit)
			}
			if !strings.Contains(e.Hint, tc.hint) {
				t.Errorf("hint = %q, want %q in it", e.Hint, tc.hint)
			}
		})
	}
}

// TestLargestAllowed reads a file that is just as large as the longest string.
func TestLargestAllowed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 999)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, host.Options{MaxString: 1000}, "local file = "+quote(file)+`
print(#fs.read(file), #fs.read(file, { max_size = 1000 }))
for line in fs.lines(file) do print(#line) end`)
	if err != nil {
		t.Fatal(err)
	}
	if want := "1000\t1000\n999\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// TestTooLongLineStaysAnError reads again after a line that was too long. The rest of that line
// must not be returned as a line.
func TestTooLongLineStaysAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	content := strings.Repeat("x", 200<<10) + "\nshort\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, host.Options{MaxString: 100 << 10}, "local lines = fs.lines("+quote(file)+`)
print(select(2, try(lines)).code)
print(select(2, try(lines)).code)`)
	if err != nil {
		t.Fatal(err)
	}
	if want := "too_large\ntoo_large\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// TestMakeString makes strings that are longer than the longest one.
func TestMakeString(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`base64.encode(long)`,
		`hex.encode(long)`,
		`hex.dump(long)`,
		`json.encode({ long, long })`,
		`json.encode({ [long] = long })`,
		`json.encode(data(long))`,
		`json.encode(many, { pretty = true })`,
		`json.write(fs.temp_file(), { long, long })`,
		`plist.encode({ long, long })`,
		`plist.encode(many, { format = "binary" })`,
		`require("imd.term").table{ { long }, { long } }`,
		`require("imd.term").table{ { a = ("x"):rep(400), b = 1 }, {}, { b = 2 } }`,
		`require("imd.yaml").encode({ long, long })`,
		`require("imd.yaml").encode_all({ long, long })`,
		`require("imd.yaml").encode(many)`,
		`re.replace(long, "x", "yy")`,
		`re.replace("x", "x", long .. "$0" .. long)`,
		`re.replace(long, "^.*$", "$0$0")`,
		`re.replace("xx", "x", function() return long end)`,
		`re.replace("xx", "x", { x = long })`,
		`re.escape(("."):rep(900))`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{MaxString: 1000}, `
local long, many = ("x"):rep(900), {}
for i = 1, 500 do many[i] = i end
`+source, "memory", "")
		})
	}
}

// TestMemory decodes documents that need far more memory than the script may hold. The script
// cannot reach the values while they are being made.
func TestMemory(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	lines := filepath.Join(t.TempDir(), "lines.csv")
	if err := os.WriteFile(lines, []byte(strings.Repeat("a\n", size/2)), 0o600); err != nil {
		t.Fatal(err)
	}
	fields := filepath.Join(t.TempDir(), "fields.csv")
	if err := os.WriteFile(fields, []byte(strings.Repeat(",", size)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		limit  uint64 // in MB
		source string
		text   string
	}{
		{"json lists", 32, `json.decode(text)`, "[" + strings.Repeat("[],", size/3) + "[]]"},
		{"json dictionaries", 32, `json.decode(text)`,
			"[" + strings.Repeat(`{"":1},`, size/7) + "{}]"},
		{"json strings", 32, `json.decode(text)`, "[" + strings.Repeat(`"",`, size/3) + `""]`},
		{"json numbers", 32, `json.decode(text)`, "[" + strings.Repeat("1,", size/2) + "1]"},
		{"csv lines", 32, `require("imd.csv").read(text)`, lines},
		{"csv header", 32, `require("imd.csv").read(text, { header = true })`, lines},
		{"csv fields", 32, `require("imd.csv").read(text)`, fields},
		{"yaml lists", 32, `require("imd.yaml").decode(text)`,
			"[" + strings.Repeat("[],", size/3) + "[]]"},
		// The nodes of the text fit into the limit, the values do not.
		{"yaml dictionaries", 32, `require("imd.yaml").decode(text)`,
			strings.Repeat("- {a: b, c: d, e: f, g: h}\n", 20000)},
		{"yaml encode", 32, `
local list = {}
for i = 1, 200000 do list[i] = i end
require("imd.yaml").encode(list)`, ""},
		// The two libraries below are slow under the race detector.
		{"plist", 3, `plist.decode(text)`,
			"<plist><array>" + strings.Repeat("<string/>", 1<<20/9) + "</array></plist>"},
		{"re.gmatch", 3, `re.gmatch(text, "(x)(x)")`, strings.Repeat("xx", 100000)},
		{"re.replace", 3, `re.replace(text, "(x)(x)", "$1")`, strings.Repeat("xx", 100000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost(t, host.Options{MaxMemory: tc.limit << 20})
			h.SetGlobal("text", lua.LString(tc.text))
			err := h.Run(t.Context(), "test.lua", tc.source)
			var e *host.Error
			if !errors.As(err, &e) {
				t.Fatalf("error = %v, want a *host.Error", err)
			}
			if e.Code != "memory" {
				t.Errorf("code = %q (%v), want memory", e.Code, err)
			}
		})
	}
}

// TestQueueMemory fills a queue. The memory limit must count its values.
func TestQueueMemory(t *testing.T) {
	t.Parallel()
	o := host.Options{MaxMemory: 32 << 20, MaxInstructions: 1e8}
	fails(t, o, `
local q = task.queue()
for i = 1, 100 do q:put(("x"):rep(1000000) .. i) end
while true do end`, "memory", "")
}

// TestMemoryIsEnough decodes documents each of which fits.
func TestMemoryIsEnough(t *testing.T) {
	t.Parallel()
	text := "[" + strings.Repeat("[],", 1000) + "[]]"
	h := newHost(t, host.Options{MaxMemory: 3 << 20})
	h.SetGlobal("text", lua.LString(text))
	err := h.Run(t.Context(), "test.lua", `
for i = 1, 40 do assert(#json.decode(text) == 1001) end
assert(re.replace(text, ",", ""):sub(1, 3) == "[[]")`)
	if err != nil {
		t.Error(err)
	}
}
