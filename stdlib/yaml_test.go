package stdlib_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

const requireYAML = "local yaml = require(\"imd.yaml\")\n"

func TestYAMLDecode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		// Examples of the YAML 1.2 specification, chapter 2.
		{"2.2", "american:\n- Boston Red Sox\n- Detroit Tigers\n",
			`{american={"Boston Red Sox","Detroit Tigers"}}`},
		{"2.10", "hr:\n- Mark\n- &SS Sammy\nrbi:\n- *SS\n- Ken\n",
			`{hr={"Mark","Sammy"},rbi={"Sammy","Ken"}}`},
		{"2.13", "--- |\n  \\//||\\/||\n  // ||  ||__\n", `"\\//||\\/||\n// ||  ||__\n"`},
		{"2.15", ">\n Sammy Sosa\n completed\n\n   63 Home Runs\n",
			`"Sammy Sosa completed\n\n  63 Home Runs\n"`},
		{"2.19", "[12345, +12345, 0o14, 0xC]", `{12345,12345,12,12}`},
		{"2.20", "[1.23015e+3, 12.3015e+02, -.inf]", `{1230.15,1230.15,-1/0}`},
		{"2.21", "null:\nbooleans: [ true, false ]\nstring: '012345'\n",
			`{null=null,booleans={true,false},string="012345"}`},

		{"empty", "", `null`},
		{"only a comment", "# nothing\n", `null`},
		{"Norway", "[no, NO, yes, on, off, y, n]", `{"no","NO","yes","on","off","y","n"}`},
		{"other integers", "[0777, 1_000, 0b101, 12:30, 0xff]", `{511,1000,5,"12:30",255}`},
		{"null", "[~, null, Null, '', \"null\"]", `{null,null,null,"","null"}`},
		{"tags", "[!!str 1, !!float 1, !Point {x: 1}, !Foo 2]", `{"1",1,{x=1},"2"}`},
		{"binary", "!!binary |\n  aGVs\n  bG8=\n", `data("hello")`},
		{"keys", "{1: a, true: b, null: c, 2001-01-01: d}",
			`{["1"]="a",["true"]="b",null="c",["2001-01-01"]="d"}`},
		{"key by alias", "{a: &k name, *k : 1}", `{a="name",name=1}`},
		{"merge", "x: &x {a: 1, b: 2}\ny: {b: 3, <<: *x}\nz: {<<: [*x, {c: 4, a: 5}], d: 6}\n",
			`{x={a=1,b=2},y={b=3,a=1},z={a=1,b=2,c=4,d=6}}`},
		{"merge of a merge", "a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b}",
			`{a={k=1},b={k=1,l=2},c={k=1,l=2}}`},
		{"no merge", `{"<<": 1}`, `{["<<"]=1}`},
		{"empty collections", "{a: [], b: {}}", `{a=array{},b={}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			returns(t, requireYAML+"return yaml.decode("+luaString(tc.text)+")", tc.want)
		})
	}
}

func TestYAMLTypes(t *testing.T) {
	t.Parallel()
	prints(t, requireYAML+`
local t = yaml.decode([[
exact: 9007199254740993
most: 18446744073709551615
least: -9223372036854775808
more: 18446744073709551616
day: 2024-02-29
at: 2024-02-29T12:00:00.5+02:00
]])
print(t.exact, t.most, t.least, t.more)
print(t.day, t.at, t.at == time.parse("2024-02-29T10:00:00.5Z"))
local order = {}
for k in pairs(t) do table.insert(order, k) end
print(table.concat(order, " "))
local a = yaml.decode("{a: &x [1], b: *x}")
a.a[1] = 2
print(a.b[1])
print(#yaml.decode("[1, null, 2]", { nulls = "drop" }), yaml.decode("a:\n", { nulls = "drop" }).a)
print(#yaml.decode_all(""), #yaml.decode_all("1\n---\n2\n...\n---\n"))
print(json.encode(yaml.decode("[]")), json.encode(yaml.decode("{}")))`,
		"9007199254740993\t18446744073709551615\t-9223372036854775808\t1.8446744073709552e+19\n"+
			"2024-02-29T00:00:00Z\t2024-02-29T10:00:00.5Z\ttrue\n"+
			"exact most least more day at\n1\n2\tnil\n0\t3\n[]\t{}\n")
}

func TestYAMLErrors(t *testing.T) {
	t.Parallel()
	laughs := strings.Repeat("x,", 9) + "x"
	laughs = "a0: &a0 [" + laughs + "]\n"
	for i := range 9 {
		n := string(rune('0' + i))
		next := string(rune('1' + i))
		list := strings.TrimSuffix(strings.Repeat("*a"+n+",", 10), ",")
		laughs += "a" + next + ": &a" + next + " [" + list + "]\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"no value", "\na: b: c", "line 2: mapping values"},
		{"tab", "a:\n\t- b", "line 2: found character that cannot start"},
		{"bracket", "a: [1, 2", "line 1: did not find expected ',' or ']'"},
		{"key twice", "a: 1\nb: 2\na: 3", `line 3: the key "a" occurs already in line 1`},
		{"second document", "a\n---\nb", "line 2: a second document"},
		{"anchor", "a: 1\nb: *nobody", "line 2: unknown anchor 'nobody'"},
		{"itself", "a: 1\nb: &b [*b]", "line 2: the alias *b refers to"},
		{"merge of itself", "a: &a\n  <<: *a", "line 2: the alias *a refers to"},
		{"merge of a text", "a:\n  <<: b", "line 2: << takes a mapping"},
		{"key of a list", "? [1]\n: 2", "line 1: a key must be"},
		{"integer", "a: !!int x", "line 1: cannot decode"},
		{"binary", "a: 1\nb: !!binary '%'", "line 2: !!binary: illegal base64"},
		{"not UTF-8", "a: 1\nb: \xff", "line 2: invalid leading UTF-8"},
		{"control character", "a: 1\nb: \x01", "line 2: control characters"},
		{"deep", strings.Repeat("[", 300) + strings.Repeat("]", 300), "deeper than 200"},
		{"very deep", strings.Repeat("[", 1e5), "line 1: "},
		{"deep by aliases", "a: &a " + strings.Repeat("[", 150) + strings.Repeat("]", 150) +
			"\nb: " + strings.Repeat("[", 150) + "*a" + strings.Repeat("]", 150),
			"deeper than 200"},
		{"billion laughs", laughs, "line 1: the aliases stand for more than 100000 values"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fails(
				t,
				host.Options{},
				requireYAML+"yaml.decode("+luaString(tc.text)+")",
				"decode",
				tc.want,
			)
		})
	}
	for _, tc := range []struct{ source, code, text string }{
		{`yaml.decode(1)`, "argument", "string or Data"},
		{`yaml.decode("", { null = "keep" })`, "argument", "unknown option"},
		{`yaml.decode(("x"):rep(17000000))`, "too_large", "the limit is 16777216 bytes"},
		{`yaml.encode({ 1, x = 2 })`, "value", "a list with the key x"},
		{`yaml.encode({ [2.5] = 2 })`, "value", "key 2.5 is not a string"},
		{`yaml.encode({ a = { print } })`, "value", "value.a[1]: cannot encode function"},
		{`local t = {} t.t = t yaml.encode(t)`, "value", "value.t: contains itself"},
		{`yaml.encode({}, { pretty = true })`, "argument", "unknown option"},
		{`local t = {} for _ = 1, 300 do t = { t } end yaml.encode(t)`, "value", "deeper than 200"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, requireYAML+tc.source, tc.code, tc.text)
		})
	}
}

func TestYAMLEncode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ value, want string }{
		{`{ a = 1, list = { 1, { b = 2, c = {} } }, none = array{} }`,
			"a: 1\nlist:\n  - 1\n  - b: 2\n    c: {}\nnone: []\n"},
		{`{ "no", "Yes", "12:30", "1", "1.5", "null", "~", "2024-01-02", "", "x", "<<", "0o17" }`,
			"- \"no\"\n- \"Yes\"\n- \"12:30\"\n- \"1\"\n- \"1.5\"\n- \"null\"\n- \"~\"\n" +
				"- \"2024-01-02\"\n- \"\"\n- x\n- \"<<\"\n- \"0o17\"\n"},
		{`"one\ntwo\n"`, "|\n  one\n  two\n"},
		{`{ null, true, 1.5, 2^60, 1/0, data("hi"), "\255" }`,
			"- null\n- true\n- 1.5\n- 1152921504606846976\n- .inf\n" +
				"- !!binary aGk=\n- !!binary /w==\n"},
		{`{ uint64("18446744073709551615"), version.parse("17.4"), time.date{ year = 2024 } }`,
			"- 18446744073709551615\n- \"17.4\"\n- 2024-01-01T00:00:00Z\n"},
	} {
		t.Run(tc.value, func(t *testing.T) {
			t.Parallel()
			prints(t, requireYAML+"io.write(yaml.encode("+tc.value+"))", tc.want)
		})
	}
	prints(
		t,
		requireYAML+`io.write(yaml.encode({ b = 1, a = 2 }, { sort = true }), yaml.encode_all{})`,
		"a: 2\nb: 1\n",
	)
}

// luaString writes any bytes as a string of Lua.
func luaString(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "\\%03d", c)
	}
	return `"` + b.String() + `"`
}

// FuzzYAML decodes any text. A value that was decoded must not change when it is written and read
// again.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"a: 1\n", "- |\n  x\n - y", "{<<: *a}", "&a [*a]", "\"\\x00\\u2028\"", "!!binary aGk=",
		"? a\n: b",
		"a: ' x\n\n  y '", "- .nan\n- -.inf\n", "%TAG ! !\n---\n", "\ufeffa",
		"#c\n\n#d\na: #e\n- #f",
		`"\n x\n"`, `"\t\n"`, `" \n"`, `"a\r\nb"`, `"\x85\n"`, `{"a\nb": "\n"}`, `"# x\n"`,
		`"\n\n a"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		h := newHost(t, host.Options{Stdout: &out})
		h.SetGlobal("text", lua.LString(text))
		err := h.Run(t.Context(), "test.lua", requireYAML+`
local ok, value = try(yaml.decode_all, text)
if not ok then
  assert(value.code == "decode", value)
  return
end
local written = yaml.encode_all(value)
local ok, again = try(yaml.decode_all, written)
if not ok then error(written .. tostring(again)) end
assert(json.encode(value):gsub("nan", "0") == json.encode(again):gsub("nan", "0"), written)`)
		var e *host.Error
		if errors.As(err, &e) && strings.Contains(e.Message, "JSON has no") {
			return
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
