package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// csvSource begins the scripts of these tests.
const csvSource = "local csv = require('imd.csv')\nlocal file = fs.temp_file('.csv')\n"

func TestCSV(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"list with holes", `
local out = csv.writer(file, { "a", "b", "c" })
out:row{ 1, nil, 3 }
out:row{ nil, true }
out:row{ null, "x\ny", 0.1 }
print(out.rows, tostring(out) == "CSVWriter<" .. file .. ">")
out:close()
print(fs.read(file))`, "3\ttrue\na,b,c\n1,,3\n,true,\n,\"x\ny\",0.1\n\n"},
		{"in the file at once", `
local out = csv.writer(file)
out:row{ "a;b", 'say "x"' }
print(fs.read(file))`, "a;b,\"say \"\"x\"\"\"\n\n"},
		{"separator and append", `
local o = { separator = ";" }
local out = csv.writer(file, { "a", "b" }, o)
out:row{ 1, 2 }
out:close()
out = csv.writer(file, { "a", "b" }, { separator = ";", append = true })
out:row{ b = "3;4" }
out:close()
print(fs.read(file))
print(csv.read(file, o)[3][2])`, "a;b\n1;2\n;\"3;4\"\n\n3;4\n"},
		{"dates and data", `
local out = csv.writer(file)
out:row{ time.date("2024-05-01T10:00:00Z"), data("ab"), uint64("18446744073709551615") }
print(fs.read(file))`, "2024-05-01T10:00:00Z,ab,18446744073709551615\n\n"},
		{"rows of different length", `
fs.write(file, "a,b\n1\n1,2,3\n\n")
print(#csv.read(file), #csv.read(file)[3], csv.read(file, { header = true })[1].b)`,
			"3\t3\tnil\n"},
		{"columns stay in their order", `
fs.write(file, "z,a,m\n1,2,3\n")
print(json.encode(csv.read(file, { header = true })))`, `[{"z":"1","a":"2","m":"3"}]` + "\n"},
		{"many rows", `
local lines = {}
for i = 1, 2500 do lines[i] = i .. "," .. i * 2 end
fs.write(file, table.concat(lines, "\n"))
local rows = csv.read(file)
print(#rows, rows[1][2], rows[1001][1], rows[2500][2])`, "2500\t2\t1001\t5000\n"},
		{"byte order mark", `
fs.write(file, "\239\187\191name\nx\n")
print(csv.read(file, { header = true })[1].name)`, "x\n"},
		{"empty file", `
print(json.encode(csv.read(file)), json.encode(csv.read(file, { header = true })))`, "[]\t[]\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, csvSource+tc.source, tc.want)
		})
	}
}

func TestCSVFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code string }{
		{`out:row{ 1, 2 }`, "argument"},
		{`out:row{ b = 1 }`, "argument"},
		{`out:row{ {} }`, "argument"},
		{`out:row{ [0.5] = 1 }`, "argument"},
		{`csv.writer(file):row{}`, "argument"},
		{`csv.writer(file, {}, { separator = "ab" })`, "argument"},
		{`csv.read(file, { separator = "" })`, "argument"},
		{`csv.writer("/no/such/folder/x")`, "not_found"},
		{`csv.read("/no/such/file")`, "not_found"},
		{`fs.write(file, 'a,"b') csv.read(file)`, "decode"},
		{`out:close() out:row{ 1 }`, "closed"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			begin := csvSource + "local out = csv.writer(file, { 'a' })\n"
			fails(t, host.Options{}, begin+tc.source, tc.code, "")
		})
	}
}
