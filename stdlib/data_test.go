package stdlib_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	const integers = `[9007199254740993,18446744073709551615,-9223372036854775808,1000,0.1]`
	for _, tc := range []struct{ name, source, want string }{
		{"order is kept", `print(json.encode(json.decode('{"z":1,"a":[],"m":{},"n":null}')))`,
			`{"z":1,"a":[],"m":{},"n":null}`},
		{"integers stay exact", `print(json.encode(json.decode("` + integers + `")))`, integers},
		{"exponents", `print(json.decode("1e3"), json.decode("-1.5E-1"))`, "1000\t-0.15"},
		{"unicode", `print(json.decode('"\\u00e9\\ud83d\\ude00\\ud800x"'))`, "é😀\ufffdx"},
		{"escapes", `print(json.encode("a\"\\\n\t\1\127é\255b"))`,
			`"a\"\\\n\t\u0001\u007fé` + "\ufffd" + `b"`},
		{"drop nulls", `
local v = json.decode('{"a":null,"b":[1,null,2],"c":[null],"d":{"e":null}}', { nulls = "drop" })
print(json.encode(v))`, `{"b":[1,2],"c":[],"d":{}}`},
		{"white space", `print(json.encode(json.decode(' { "a" : [ ] , "b" : { } } ')))`,
			`{"a":[],"b":{}}`},
		{"pretty", `print(json.encode({ b = { 1 }, a = array{} }, { pretty = true, sort = true }))`,
			"{\n  \"a\": [],\n  \"b\": [\n    1\n  ]\n}"},
		{"data and dates", `print(json.encode({ data("ab"), time.date(0) }))`,
			`["YWI=","1970-01-01T00:00:00Z"]`},
		{"record", `
local s = fs.stat(fs.temp_dir())
print(json.decode(json.encode({ s }))[1].kind)`, "directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, tc.source, tc.want+"\n")
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, want string }{
		{`json.decode("[1,\n2")`, "decode", "line 2: the text ends too early"},
		{`json.decode("[01]")`, "decode", "malformed number"},
		{`json.decode("[1] x")`, "decode", "unexpected 'x'"},
		{`json.decode("[,]")`, "decode", "unexpected ','"},
		{`json.decode("[1,]")`, "decode", "unexpected ']'"},
		{`json.decode('"\\q"')`, "decode", "unknown escape"},
		{`json.decode("nul")`, "decode", "unexpected 'n'"},
		{`json.decode(("["):rep(1000))`, "decode", "nested deeper than 200 levels"},
		{`json.encode({ a = print })`, "value", "value.a: cannot encode function"},
		{`json.encode({ ["%d"] = print })`, "value", "value.%d: cannot encode function"},
		{`json.encode({ 1, nil, 3 })`, "value", "a list with holes"},
		{`json.encode({ 1, x = 2 })`, "value", "a list with the key x"},
		{`json.encode(0/0)`, "value", "JSON has no NaN"},
		{`local t = {} t.t = t json.encode(t)`, "value", "value.t: contains itself"},
		{`json.read("/no/such/file")`, "not_found", "json: open /no/such/file"},
		{`plist.decode("nothing")`, "decode", "plist"},
		{`plist.encode({ a = null, b = { null } })`, "value", "plist"},
		{`plist.read("/no/such/file")`, "not_found", "plist: open /no/such/file"},
		{`fs.read("/no/such/file")`, "not_found", "fs: open /no/such/file"},
		{`fs.read("x", { max_size = -1 })`, "argument", "must not be negative"},
		{`fs.write("x", "y", { mode = "9" })`, "argument", "is not an octal number"},
		{`local d = fs.temp_dir()
fs.copy(d, path.join(d, "sub"), { recursive = true })`, "argument", "would be inside it"},
		{`local d = fs.temp_dir() fs.copy(d, d .. "2")`, "is_directory", "recursive"},
		{`fs.remove("/no/such/file")`, "not_found", "no such file"},
		{`fs.temp_dir("a/b")`, "error", "path separator"},
		{`fs.glob("{a")`, "pattern", "{ without }"},
		{`path.match("{a", "a")`, "pattern", "{ without }"},
		{`path.expand("~")`, "error", "no home folder"},
		{`re.match("x", "(")`, "pattern", "missing closing )"},
		{`base64.decode("!")`, "decode", "base64"},
		{`hex.decode("4")`, "decode", "hex"},
		{`hash.hmac("crc32", "k", "d")`, "argument", "has no HMAC"},
		{`hash.file("md4", "x")`, "argument", "unknown algorithm"},
		{`log.to("/no/such/folder/x")`, "not_found", "log: open /no/such/folder/x"},
		{`time.parse("yesterday")`, "decode", "not have a known date format"},
		{`time.duration("soon")`, "decode", "not a duration"},
		{`time.date{ month = 2 }`, "argument", `option "year" is missing`},
		{`task.sleep(-1)`, "argument", "must not be negative"},
		{`task.queue():put(nil)`, "argument", "nil cannot be queued"},
		{`log.level("loud")`, "argument", "not one of debug, info, warn, error"},
		{`errors.new{ code = "x" }`, "argument", `option "message" is missing`},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, tc.source, tc.code, tc.want)
		})
	}
}

func TestPlistKeepsTypes(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"xml", "binary"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			prints(t, `
local v = plist.decode(plist.encode({
  n = 1, r = plist.real(2), big = uint64("18446744073709551615"), d = data("\0\1"),
  t = time.date(86400), list = array{}, dict = {}, s = "x", b = true,
}, { format = "`+format+`" }))
print(v.n, v.r, tostring(v.big), v.d:hex(), v.t:iso())
print(json.encode(v.list), json.encode(v.dict), v.s, v.b)`,
				"1\t2\t18446744073709551615\t0001\t1970-01-02T00:00:00Z\n[]\t{}\tx\ttrue\n")
		})
	}
}

func TestPlistUID(t *testing.T) {
	t.Parallel()
	prints(t, `
local bytes = plist.encode({ plist.uid(7) }, { format = "binary" })
print(plist.decode(bytes)[1])`, "PlistUID<7>\n")
}

// TestLargePlist decodes a document that is decoded without the interpreter lock.
func TestLargePlist(t *testing.T) {
	t.Parallel()
	prints(t, `
local list, file = {}, fs.temp_file()
for i = 1, 20000 do list[i] = i end
plist.write(file, list)
local got = plist.read(file)
print(#got, got[20000])
print(select(2, try(plist.decode, fs.read(file):sub(1, -100))).code)`, "20000\t20000\ndecode\n")
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.txt")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	prints(t, `local d = `+quote(dir)+`
fs.write(path.join(d, "link"), "new")
print(fs.read(path.join(d, "a.txt")))
print(fs.stat(path.join(d, "link")).kind, fs.stat(path.join(d, "a.txt")).mode)
fs.write(path.join(d, "deep/er/b.txt"), "b", { mkdir = true })
fs.copy(path.join(d, "deep"), path.join(d, "copy"), { recursive = true })
local names = {}
for f in fs.walk(d) do table.insert(names, path.rel(d, f.path)) end
print(table.concat(names, " "))
print(#fs.glob(path.join(d, "**/*.txt")), #fs.list(d))
fs.remove(path.join(d, "copy"), { recursive = true })
print(fs.exists(path.join(d, "copy")))`, `new
link	-rw-------
a.txt copy copy/er copy/er/b.txt deep deep/er deep/er/b.txt link
3	4
false
`)
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// TestGlobWithoutWildcard matches a pattern that is the path of a file.
func TestGlobWithoutWildcard(t *testing.T) {
	t.Parallel()
	prints(t, `
local d = fs.temp_dir()
local file = path.join(d, "a.txt")
fs.write(file, "")
print(fs.glob(file)[1] == file, fs.glob(d)[1] == d, #fs.glob(path.join(d, "b.txt")))
print(#fs.glob(path.join(d, "no/such/*")))`, "true\ttrue\t0\n0\n")
}

func TestTemporaryFilesGoAway(t *testing.T) {
	t.Parallel()
	out, err := run(t, host.Options{}, `
local d, f = fs.temp_dir("imdlua-test-"), fs.temp_file()
fs.write(path.join(d, "x"), "")
print(d)
print(f)`)
	if err != nil {
		t.Fatal(err)
	}
	paths := strings.Fields(out)
	if len(paths) != 2 {
		t.Fatalf("printed %q, want two paths", out)
	}
	for _, p := range paths {
		if _, err := os.Stat(p); !os.IsNotExist(err) {
			t.Errorf("Stat(%s) = %v, want that it does not exist", p, err)
		}
	}
}

// TestTemporaryFilesOfStoppedTasks stops tasks at different moments while they make temporary
// files. Some are stopped between the system call and the return to the script.
func TestTemporaryFilesOfStoppedTasks(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	prints(t, `
for i = 1, 300 do
  try(task.timeout, i * 1e-6, function() while true do fs.temp_dir() fs.temp_file() end end)
end`, "")
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%d temporary files are left", len(left))
	}
}

// quote makes a Lua string of s.
func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,"x",null]}`, `"\ud83d\ude00"`, "[1e400]", `[-0]`, "{\"\":0}", `[[],{}]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := newHost(t, host.Options{})
		h.SetGlobal("text", host.ToLua(h.L(), text))
		err := h.Run(t.Context(), "fuzz.lua", `
local ok, v = try(json.decode, text)
if ok then
  local again = json.encode(v)
  assert(json.encode(json.decode(again)) == again, again)
end`)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
