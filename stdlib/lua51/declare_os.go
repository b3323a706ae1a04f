package lua51

import (
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

func osLibrary() *api.Module {
	words := glossary{"path": "the file"}
	return &api.Module{
		Name: "os",
		Doc: "Times, environment variables, and files by name. Programs are run by imd.exec; " +
			"time has dates, fs has files.",
		Perm:  "none",
		Funcs: words.explain(osTimes(), osSystem()),
	}
}

func osTimes() []*api.Func {
	return []*api.Func{
		function("clock", "-> number",
			"Seconds since the run began. It is the time that has passed, not that of the "+
				"processor.",
			`local before = os.clock()
return os.clock() >= before -- => true`),
		function("date", "format?:string time?:number -> string|table?",
			"Formats a time as strftime of C does, in English. A ! at the beginning means UTC "+
				"instead of local time. The format \"*t\" gives a table with year, month, day, "+
				"hour, min, sec, wday (Sunday is 1), yday and isdst. %f is microseconds, %L milliseconds; an "+
				"unknown directive is an error.",
			`return os.date("!%Y-%m-%d %H:%M", 0), os.date("!*t", 0).wday `+
				`-- => "1970-01-01 00:00", 5`,
			api.ParamDoc("format", "the text with directives, %c if not given"),
			api.ParamDoc("time", "seconds since 1970, now if not given")),
		function("difftime", "later:number earlier?:number -> number",
			"The seconds between two times.",
			`return os.difftime(70, 10) -- => 60`,
			api.ParamDoc("later", "seconds since 1970"),
			api.ParamDoc("earlier", "seconds since 1970, 0 if not given")),
		function("time", "date?:table -> integer",
			"Seconds since 1970: now, or the local time that a table describes. Fields may be "+
				"out of range: day 0 is the last day of the month before.",
			`local d = { year = 2024, month = 2, day = 29, hour = 12 }
return os.date("%Y-%m-%d", os.time(d)) -- => "2024-02-29"`,
			api.ParamDoc("date", "year, month, day; and hour (12), min, sec, isdst")),
	}
}

func osSystem() []*api.Func {
	return []*api.Func{
		function("exit", "code?:integer|boolean",
			"Ends the script: deferred functions run, and everything that it opened is closed. "+
				"pcall does not catch it.",
			`if args.dry_run then os.exit(0) end`,
			api.ParamDoc("code", "exit code, 0 if not given; true is 0 and false is 1")),
		function("getenv", "name:string -> string?",
			"The value of an environment variable, nil if it is not set.",
			`return os.getenv("NO_SUCH_VARIABLE") -- => nil`,
			api.ParamDoc("name", "name of the variable"),
			api.Perm("env"), api.Access("name", host.AccessEnv)),
		function("remove", "path:string -> boolean?, string? message, integer? number",
			"Removes a file or an empty directory. Returns nil, the text and the number of the "+
				"error if it cannot.",
			`local name = os.tmpname()
return os.remove(name), (os.remove(name)) -- => true, nil`,
			api.StringKind("path", "path"), api.Access("path", host.AccessWrite),
			api.Perm("file-write"), api.SeeAlso("fs.remove")),
		function("rename", "from:string to:string -> boolean?, string? message, integer? number",
			"Gives a file another name; an existing file of that name is replaced. Returns nil, "+
				"the text and the number of the error if it cannot.",
			`local name = os.tmpname()
return os.rename(name, name .. ".txt"), os.remove(name .. ".txt") -- => true, true`,
			api.ParamDoc("from", "the file"), api.ParamDoc("to", "its new path"),
			api.StringKind("from", "path"), api.Access("from", host.AccessWrite),
			api.StringKind("to", "path"), api.Access("to", host.AccessWrite),
			api.Perm("file-write"), api.SeeAlso("fs.rename")),
		function("tmpname", "-> string",
			"Makes an empty file in the directory for temporary files and returns its path. The "+
				"file is not removed; that of fs.temp_file is removed at the end of the scope.",
			`local name = os.tmpname()
return os.remove(name) -- => true`,
			api.Perm("file-write"), api.Checks(host.AccessWrite), api.SeeAlso("fs.temp_file")),
	}
}
