package compile_test

import "regexp"

// differences lists what random programs print differently on purpose. Both outputs
// get a common text in its place. The programs avoid differences that cannot be
// replaced: the order of pairs, the texts of numbers with more than 14 digits, and the
// order of equal items after a sort.
var differences = []struct {
	pattern *regexp.Regexp
	common  string
	reason  string
}{
	{regexp.MustCompile(`[ -]*\bnan`), "nan", "the sign of nan depends on the processor"},
	{regexp.MustCompile(`-inf\b`), "inf", "lua5.1 keeps 0 and -0 as one constant"},
	{
		regexp.MustCompile(`p:\d+: (p:\d+: )`),
		"$1",
		"coroutine.wrap puts no second position in front of an error",
	},
	{
		regexp.MustCompile(`(attempt to (?:index|call|concatenate|perform arithmetic on|get)).*?` +
			`\b(a \w+ value)[^"\n]*`),
		"$1 $2",
		"the name of a value stands behind its type, and an index names its key",
	},
	{
		regexp.MustCompile(`(?:p:\d+: )?attempt to compare [^"\n]*`),
		"attempt to compare",
		"both types are named, also when they are equal, and table.sort gives a position",
	},
	{
		regexp.MustCompile(`(?:p:\d+: )?attempt to yield [^"\n]*`),
		"attempt to yield",
		"the text says what cannot be yielded across",
	},
	{
		regexp.MustCompile(`(?:p:\d+: )?table index is `),
		"table index is ",
		"the error of rawset has a position",
	},
}
