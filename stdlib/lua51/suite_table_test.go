package lua51_test

// suite lists the tests of Lua 5.1.
var suite = []suiteFile{
	{name: "all.lua", stops: 27, reason: "there is no os.setlocale; the files are run one by one"},
	{name: "api.lua"},
	{name: "attrib.lua", cuts: []cut{{14, 14, "there are no libraries in C"}}, stops: 107,
		reason: "there is no package.seeall"},
	{name: "big.lua", cuts: []cut{
		{3, 12, "32 MB times 129 exceed the memory of a script, not the length of a string"},
	}, stops: 362, reason: "it must be called in a coroutine"},
	{name: "calls.lua", cuts: []cut{{241, 241, "the source of a chunk is its name in messages"}}},
	{name: "checktable.lua"},
	{name: "closure.lua", cuts: []cut{
		{163, 178, "the globals of a coroutine cannot be changed"},
		{412, 422, "the globals of a coroutine cannot be changed"},
	}},
	{name: "code.lua"},
	{name: "constructs.lua"},
	{name: "db.lua", cuts: []cut{
		{24, 35, "debug.getinfo knows no active lines"},
		{47, 48, "an empty name of a chunk counts as none"},
		{51, 52, "long names are not shortened"},
		{57, 58, "an empty name of a chunk counts as none"},
		{62, 96, "debug.getinfo knows the name of a function only sometimes"},
		{98, 498, "there are no hooks, no access to locals, and no debug.setupvalue"},
	}},
	{name: "errors.lua", cuts: []cut{
		{38, 41, "syntax errors have other texts, and ; may stand alone, as in Lua 5.2"},
		{44, 44, "a call may begin on the next line, as in Lua 5.2"},
		{48, 51, "syntax errors have other texts"},
		{78, 87, "the name of a value is not known behind a jump"},
		{111, 111, "metatables that modules share are protected"},
		{126, 126, "the line is that of the for, not of its expression"},
		{156, 167, "a traceback leaves out the middle of a deep recursion"},
		{172, 172, "an error in the handler of xpcall becomes its result"},
		{190, 196, "syntax errors have other texts"},
		{223, 224, "the text tells of operators, not of levels"},
		{238, 238, "the limits of upvalues and locals have other texts"},
		{247, 247, "the limits of upvalues and locals have other texts"},
	}},
	{name: "events.lua", cuts: []cut{
		{22, 22, "__tostring must return a text, as in Lua 5.4"},
		{330, 357, "there is no debug.setmetatable"},
	}},
	{name: "files.lua", cuts: []cut{
		{216, 216, "files have no buffer"}, {257, 263, "scripts cannot start programs"},
	}},
	{name: "gc.lua", cuts: []cut{
		{88, 129, "gcinfo is not there, and the collector has no steps"},
		{150, 255, "there are no weak tables and no newproxy: the collector is that of Go"},
		{287, 310, "there is no newproxy"},
	}},
	{name: "literals.lua", cuts: []cut{{161, 173, "there is no os.setlocale"}}},
	{name: "locals.lua", cuts: []cut{{81, 83, "the globals of a thread cannot be changed"}}},
	{name: "main.lua", stops: 5, reason: "it tests lua.c by os.execute"},
	{name: "math.lua"},
	{name: "nextvar.lua"},
	{name: "pm.lua", cuts: []cut{{235, 235, "the obsolete string.gfind is not there"}}},
	{name: "sort.lua"},
	{name: "strings.lua", cuts: []cut{
		{94, 94, "functions in Go are called builtin"}, {144, 165, "there is no os.setlocale"},
	}},
	{name: "vararg.lua"},
	{name: "verybig.lua", stops: 96, reason: "a function has at most 65,536 constants"},
}
