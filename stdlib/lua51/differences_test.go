package lua51_test

// differences lists chunks whose results differ from those of Lua 5.1, with the reason.
var differences = []struct{ chunk, want, reason string }{
	{
		`return math.log(8, 2), math.log(100, 10)`,
		"[true|3|2]",
		"the base of Lua 5.2 is useful; Lua 5.1 ignores it",
	},
	{
		`return tonumber('inf'), tonumber('nan')`,
		"[true|nil|nil]",
		"words are not numbers; in Lua 5.1 it depends on the C library",
	},
	{
		`return tonumber('-ff', 16)`,
		"[true|-255]",
		"Lua 5.1 wraps around to an unsigned integer",
	},
	{
		`return coroutine.create(5)`,
		"[false|bad argument #1 to 'create' (function expected, got number)]",
		"the text says what was given",
	},
	{
		`return type(debug.traceback(nil))`,
		"[true|string]",
		"nil is not a message, as in Lua 5.2",
	},
	{
		`return os.date('!%Z', 0)`,
		"[true|UTC]",
		"UTC is the name of this time; glibc calls it GMT",
	},
	{
		`return os.date('%Q', 0)`,
		"[false|bad argument #1 to 'date' (invalid conversion specifier '%Q')]",
		"an unknown conversion is a mistake; C leaves it undefined",
	},
	{
		`return os.date('!%f %L', 0)`,
		"[true|000000 000]",
		"microseconds and milliseconds are additions",
	},
	{
		`local f = io.tmpfile() f:write('1e') f:seek('set') return f:read('*n')`,
		"[true|nil]",
		"an exponent needs digits; glibc accepts it at the end of a file",
	},
	{
		`local f = io.tmpfile() return f:write('x') == f, io.write() == io.stdout`,
		"[true|true|true]",
		"writes can be chained, as in Lua 5.2",
	},
	{
		`local f = io.tmpfile() f:write('a\nb') f:seek('set') return f:read('L'), f:read('l')`,
		"[true|a\\n|b]",
		"*L and formats without the star are those of Lua 5.2 and 5.3",
	},
	{
		`return tostring(io.stdout), tostring(io.tmpfile())`,
		"[true|file (stdout)|file (tmpfile)]",
		"a name says more than an address",
	},
	{
		`return io.open('/x', 'q')`,
		"[false|bad argument #2 to 'open' (invalid mode 'q')]",
		"a wrong mode is a mistake in the script, as in Lua 5.2",
	},
	{
		`return io.lines('/no/such/file')`,
		"[false|open /no/such/file: no such file or directory (not_found)]",
		"the error is an object with a code",
	},
	{
		`local f = io.tmpfile() f:write(0.1 + 0.2) f:seek('set') return f:read('*a')`,
		"[true|0.30000000000000004]",
		"numbers are written without loss; Lua 5.1 writes 14 digits",
	},
	{
		`return pcall(function() return os.execute end)`,
		"[true|false|there is no os.execute (undefined)]",
		"a hint instead of nil: programs are started by imd.exec, without a shell",
	},
	{
		`return pcall(function() return io.popen end)`,
		"[true|false|there is no io.popen (undefined)]",
		"a hint instead of nil: programs are started by imd.exec, without a shell",
	},
	{
		`return pcall(function() return debug.getlocal end)`,
		"[true|false|there is no debug.getlocal (undefined)]",
		"functions of modules must not be reached into",
	},
	{
		`return pcall(function() return ('x'):split(',') end)`,
		"[true|false|there is no string.split (undefined)]",
		"a hint instead of nil",
	},
	{
		`return pcall(function() return utf8 end)`,
		"[true|false|undefined global 'utf8' (undefined)]",
		"globals are strict, and known names of other Luas have a hint",
	},
	{
		`return getmetatable(io.stdout), getmetatable('')`,
		"[true|file|string]",
		"metatables that modules share are protected",
	},
	{
		`return math.random(2^53) > 0`,
		"[true|true]",
		"integers up to 2^53 can be drawn",
	},
}
