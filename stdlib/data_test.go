package stdlib_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"order is kept", `print(json.encode(json.decode('{"z":1,"a":[],"m":{},"n":null}')))`, `{"z":1,"a":[],"m":{},"n":null}`},
		{"integers stay exact", `print(json.encode(json.decode("[9007199254740993,18446744073709551615,-9223372036854775808,1e3,0.1]")))`, `[9007199254740993,18446744073709551615,-9223372036854775808,1000,0.1]`},
		{"unicode", `print(json.decode('"\\u00e9\\ud83d\\ude00\\ud800x"'))`, "é😀\ufffdx"},
		{"escapes", `print(json.encode("\"\\\n\t\1\127é\255"))`, `"\"\\\n\t\u0001\u007fé` + "\ufffd" + `"`},
		{"drop nulls", `print(json.encode(json.decode('{"a":null,"b":[1,null,2]}', { nulls = "drop" })))`, `{"b":[1,2]}`},
		{"pretty", `print(json.encode({ b = { 1 }, a = array{} }, { pretty = true, sort = true }))`, "{\n  \"a\": [],\n  \"b\": [\n    1\n  ]\n}"},
		{"data and dates", `print(json.encode({ data("ab"), time.date(0) }))`, `["YWI=","1970-01-01T00:00:00Z"]`},
		{"record", `local s = fs.stat(fs.temp_dir()) print(json.decode(json.encode({ s }))[1].kind)`, "dir"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, host.Options{}, tc.source)
			if err != nil || strings.TrimSuffix(out, "\n") != tc.want {
				t.Errorf("printed %q, error %v, want %q", out, err, tc.want)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, want string }{
		{`json.decode("[1,\n2")`, "decode", "line 2: the text ends too early"},
		{`json.decode("[01]")`, "decode", "malformed number"},
		{`json.decode("[1] x")`, "decode", "unexpected 'x'"},
		{`json.decode('"\\q"')`, "decode", "unknown escape"},
		{`json.decode("nul")`, "decode", "unexpected 'n'"},
		{`json.decode(("["):rep(1000))`, "decode", "nested deeper than 200 levels"},
		{`json.encode({ a = print })`, "value", "value.a: cannot encode function"},
		{`json.encode({ 1, nil, 3 })`, "value", "a list with holes"},
		{`json.encode({ 1, x = 2 })`, "value", "a list with the key x"},
		{`json.encode(0/0)`, "value", "JSON has no NaN"},
		{`local t = {} t.t = t json.encode(t)`, "value", "value.t: contains itself"},
		{`json.read("/no/such/file")`, "not_found", "json: open /no/such/file"},
		{`plist.decode("nothing")`, "decode", "plist"},
		{`plist.encode({ a = null, b = { null } })`, "value", "plist"},
		{`fs.read("/no/such/file")`, "not_found", "fs: open /no/such/file"},
		{`local f = fs.temp_file() fs.write(f, "12345") fs.read(f, { max = 4 })`, "too_large", "larger than 4 bytes"},
		{`fs.write("x", "y", { mode = "9" })`, "argument", "is no octal number"},
		{`local d = fs.temp_dir() fs.copy(d, path.join(d, "sub"), { recursive = true })`, "argument", "would lie inside it"},
		{`local d = fs.temp_dir() fs.copy(d, d .. "2")`, "is_dir", "recursive"},
		{`fs.remove("/no/such/file")`, "not_found", "no such file"},
		{`fs.glob("{a")`, "pattern", "{ without }"},
		{`re.match("x", "(")`, "pattern", "missing closing )"},
		{`base64.decode("!")`, "decode", "base64"},
		{`hex.decode("4")`, "decode", "hex"},
		{`hash.hmac("crc32", "k", "d")`, "argument", "no keyed form"},
		{`hash.file("md4", "x")`, "argument", "unknown algorithm"},
		{`time.parse("yesterday")`, "decode", "no date that is known"},
		{`time.duration("soon")`, "decode", "no duration"},
		{`time.date{ month = 2 }`, "argument", `option "year" is missing`},
		{`task.sleep(-1)`, "argument", "must not be negative"},
		{`task.queue():put(nil)`, "argument", "nil cannot be queued"},
		{`log.level("loud")`, "argument", "none of debug, info, warn, error"},
		{`errors.new{ code = "x" }`, "argument", `option "message" is missing`},
	} {
		out, err := run(t, host.Options{}, tc.source)
		var e *host.Error
		if !errors.As(err, &e) || e.Code != tc.code || !strings.Contains(e.Message, tc.want) {
			t.Errorf("%s\nerror = %v, want code %s and %q (printed %q)", tc.source, err, tc.code, tc.want, out)
		}
	}
}

func TestPlistKeepsTypes(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"xml", "binary"} {
		out, err := run(t, host.Options{}, `
local v = plist.decode(plist.encode({ n = 1, r = plist.real(2), big = uint64("18446744073709551615"), d = data("\0\1"),
  t = time.date(86400), list = array{}, dict = {}, s = "x", b = true }, { format = "`+format+`" }))
print(v.n, v.r, tostring(v.big), v.d:hex(), v.t:iso(), json.encode(v.list), json.encode(v.dict), v.s, v.b)`)
		want := "1\t2\t18446744073709551615\t0001\t1970-01-02T00:00:00Z\t[]\t{}\tx\ttrue\n"
		if err != nil || out != want {
			t.Errorf("%s: printed %q, error %v, want %q", format, out, err, want)
		}
	}
	out, err := run(t, host.Options{}, `print(plist.decode(plist.encode({ plist.uid(7) }, { format = "binary" }))[1])`)
	if err != nil || out != "PlistUID<7>\n" {
		t.Errorf("uid: printed %q, error %v", out, err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.txt")
	link := filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	script := `local d = ` + quote(dir) + `
fs.write(path.join(d, "link"), "new")
print(fs.read(path.join(d, "a.txt")), fs.stat(path.join(d, "link")).kind, fs.stat(path.join(d, "a.txt")).mode)
fs.write(path.join(d, "deep/er/b.txt"), "b", { mkdir = true })
fs.copy(path.join(d, "deep"), path.join(d, "copy"), { recursive = true })
local names = {}
for f in fs.walk(d) do table.insert(names, path.rel(d, f.path)) end
print(table.concat(names, " "))
print(#fs.glob(path.join(d, "**/*.txt")), #fs.list(d))
fs.remove(path.join(d, "copy"), { recursive = true })
print(fs.exists(path.join(d, "copy")))`
	out, err := run(t, host.Options{}, script)
	want := "new\tlink\t-rw-------\na.txt copy copy/er copy/er/b.txt deep deep/er deep/er/b.txt link\n3\t4\nfalse\n"
	if err != nil || out != want {
		t.Errorf("printed %q, error %v, want %q", out, err, want)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, error %v", left, err)
	}
	out, err = run(t, host.Options{}, `local d = fs.temp_dir("imdlua-test-") fs.write(path.join(d, "x"), "") print(d)`)
	if _, statErr := os.Stat(strings.TrimSpace(out)); err != nil || !os.IsNotExist(statErr) {
		t.Errorf("temp_dir %q is left, error %v", out, err)
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x",null]}`, `"\ud83d\ude00"`, "[1e400]", `[-0]`, "{\"\":0}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := newHost(t, host.Options{})
		h.SetGlobal("text", host.ToLua(h.L(), text))
		err := h.Run(t.Context(), "fuzz.lua", `
local ok, v = try(json.decode, text)
if ok then local again = json.encode(v) assert(json.encode(json.decode(again)) == again, again) end`)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
