package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	prints(t, `
local version = require("imd.version")
local v = version.parse("17.4.1")
print(v, v.major, v.minor, v.patch)
print(v == version.parse("17.4.1.0"), v < version.parse("17.10"), v >= version.parse("18"))
print(v:at_least(17), v:at_most("17.4"), v:between("17.4", "17.5"), v:compare(v))
print(json.encode({ v }))`, `17.4.1	17	4	1
true	true	false
true	false	true	0
["17.4.1"]
`)
}

func TestVersionErrors(t *testing.T) {
	t.Parallel()
	const v = `local version = require("imd.version")
local v = version.parse("17.4.1")
`
	for _, tc := range []struct{ source, code, text string }{
		{`version.parse("")`, "value", "part 1"},
		{`version.parse("17.x")`, "value", `part 2 of "17.x" is not a number`},
		{`version.parse("17.-1")`, "value", "part 2"},
		{`version.parse("99999999999")`, "value", "part 1"},
		{`version.parse(("1."):rep(1000))`, "value", "2000 bytes"},
		{`version.parse({})`, "argument", "got table"},
		{`v:at_least(17.4)`, "argument", `"17.4"`},
		{`return v < "17"`, "error", "at_least"},
		{`return "17" >= v`, "error", "at_least"},
		{`return v <= 17`, "error", "at_least"},
		{`return v < data("x")`, "error", "at_least"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, v+tc.source, tc.code, tc.text)
		})
	}
}
