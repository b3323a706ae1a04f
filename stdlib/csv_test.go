package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestCSV(t *testing.T) {
	t.Parallel()
	const begin = "local csv = require('imd.csv') local file = fs.temp_file('.csv')\n"
	for _, tc := range []struct{ name, source, want string }{
		{"list with holes", `local out = csv.writer(file, { "a", "b", "c" }) out:row{ 1, nil, 3 } out:row{ nil, true } out:row{ null, "x\ny", 0.1 } print(out.rows, tostring(out) == "CSVWriter<" .. file .. ">") out:close() print(fs.read(file))`,
			"3\ttrue\na,b,c\n1,,3\n,true,\n,\"x\ny\",0.1\n\n"},
		{"in the file at once", `local out = csv.writer(file) out:row{ "a;b", 'say "x"' } print(fs.read(file))`, "a;b,\"say \"\"x\"\"\"\n\n"},
		{"separator and append", `local o = { separator = ";" } local out = csv.writer(file, { "a", "b" }, o) out:row{ 1, 2 } out:close()
out = csv.writer(file, { "a", "b" }, { separator = ";", append = true }) out:row{ b = "3;4" } out:close() print(fs.read(file)) print(csv.read(file, o)[3][2])`, "a;b\n1;2\n;\"3;4\"\n\n3;4\n"},
		{"dates and data", `local out = csv.writer(file) out:row{ time.date("2024-05-01T10:00:00Z"), data("ab"), uint64("18446744073709551615") } print(fs.read(file))`, "2024-05-01T10:00:00Z,ab,18446744073709551615\n\n"},
		{"rows of different length", `fs.write(file, "a,b\n1\n1,2,3\n\n") print(#csv.read(file), #csv.read(file)[3], csv.read(file, { header = true })[1].b)`, "3\t3\tnil\n"},
		{"byte order mark", `fs.write(file, "\239\187\191name\nx\n") print(csv.read(file, { header = true })[1].name)`, "x\n"},
		{"empty file", `print(#csv.read(file), #csv.read(file, { header = true }))`, "0\t0\n"},
		{"errors", `local out = csv.writer(file, { "a" })
for _, f in ipairs{
  function() out:row{ 1, 2 } end, function() out:row{ b = 1 } end, function() out:row{ {} } end, function() out:row{ [0.5] = 1 } end,
  function() csv.writer(file):row{} end, function() csv.writer(file, {}, { separator = "ab" }) end, function() csv.read(file, { separator = "" }) end,
  function() csv.writer("/no/such/folder/x") end, function() csv.read("/no/such/file") end,
  function() fs.write(file, 'a,"b') csv.read(file) end,
  function() out:close() out:row{ 1 } end,
} do print(select(2, try(f)).code) end`, "argument\nargument\nargument\nargument\nargument\nargument\nargument\nnot_found\nnot_found\ndecode\nclosed\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, host.Options{}, begin+tc.source)
			if err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			if got != tc.want {
				t.Errorf("printed %q, want %q", got, tc.want)
			}
		})
	}
}
