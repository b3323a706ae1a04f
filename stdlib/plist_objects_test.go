package stdlib_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestPlistObjects checks that records are encoded as dictionaries at any place, and that objects
// without a value are refused instead of becoming empty dictionaries.
func TestPlistObjects(t *testing.T) {
	t.Parallel()
	const file = "local f = fs.temp_file() fs.write(f, 'abc') local s = fs.stat(f)\n"
	const again = "local function again(v) return plist.decode(plist.encode(v)) end\n"
	for _, test := range []struct{ source, want string }{
		{`print(again(s).size)`, "3\n"},
		{`print(again({ a = s }).a.size)`, "3\n"},
		{`print(again({ s, s })[2].size)`, "3\n"},
		{`print(again({ a = { b = { s } } }).a.b[1].size)`, "3\n"},
	} {
		prints(t, file+again+test.source, test.want)
	}
	for _, source := range []string{
		"plist.encode(task.event())", "plist.encode{ a = task.event() }",
		"plist.encode{ { task.event() } }",
		"plist.encode(coroutine.create(print))", "plist.encode{ a = print }",
	} {
		fails(t, host.Options{}, source, "value", "cannot")
	}
}
