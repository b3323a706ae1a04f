// Package time is the script module time: dates and durations. A duration is a number of seconds.
//
//	local start = time.now()
//	print(time.now() - start, start:format("%Y-%m-%d"))
package time

import (
	"math"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

type dateFields struct {
	Year  int     `lua:"year" doc:"year" required:"true"`
	Month int     `lua:"month" doc:"1 to 12" default:"1"`
	Day   int     `lua:"day" doc:"1 to 31" default:"1"`
	Hour  int     `lua:"hour" doc:"0 to 23"`
	Min   int     `lua:"min" doc:"0 to 59"`
	Sec   float64 `lua:"sec" doc:"0 to 59, with fraction"`
	Zone  string  `lua:"zone" doc:"name such as Europe/Berlin, or UTC" default:"UTC"`
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:   "time",
		Doc:    "Dates and durations. Durations are seconds.",
		Global: true,
		Perm:   "none",
		Funcs:  append(clock(), dates()...),
	}
}

// clock returns the functions that read the clock, wait and measure.
func clock() []*api.Func {
	begin := time.Now()
	monotonic := func(*api.Call) float64 { return time.Since(begin).Seconds() }
	return []*api.Func{
		api.Function("now", "The time of day as a Date.",
			"", now,
			api.Example(`print(time.now():iso())`)),
		api.Function("monotonic", "Seconds since the host started. It never jumps.",
			"", monotonic,
			api.Returns("number seconds"),
			api.Example(`return time.monotonic() >= 0 -- => true`)),
		api.Function("sleep", "Waits. Other tasks run in the meantime.",
			"seconds", sleep,
			api.ParamDoc("seconds", "how long"),
			api.Example(`time.sleep(0.01)`)),
		api.Function("measure", "Calls fn and returns the seconds that it took, then its results.",
			"fn args...", measure,
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("number seconds", "any ..."),
			api.Example(`return select(2, time.measure(function() return "x" end)) -- => "x"`)),
	}
}

// dates returns the functions that make dates and durations.
func dates() []*api.Func {
	return []*api.Func{
		api.Function("date", "Makes a Date from seconds since 1970, from a text as parse reads "+
			"it, or from a table of year, month, day, hour, min, sec, zone.",
			"value:number|string|TimeDateFields", date,
			api.ParamDoc("value", "the seconds, the text or the table"),
			api.Example(`local d = time.date{ year = 2024, month = 2, day = 29 }
return d:iso() -- => "2024-02-29T00:00:00Z"`)),
		api.Function("parse", "Reads a date. Without a format it accepts ISO 8601 and the formats "+
			"that logs use. A format is written as for os.date. A date without a zone is UTC.",
			"text format?", parse,
			api.ParamDoc("text", "the date"),
			api.ParamDoc("format", "such as %d.%m.%Y %H:%M"),
			api.Raises("decode"),
			api.Returns("Date"),
			api.Example(`return time.parse("29.02.2024", "%d.%m.%Y").unix -- => 1709164800`)),
		api.Function("duration", "Reads a duration such as 1m30s, 250ms or 2d, and returns seconds.",
			"text", duration,
			api.ParamDoc("text", "the duration"),
			api.Raises("decode"),
			api.Returns("number seconds"),
			api.Example(`return time.duration("1m30s") -- => 90`)),
	}
}

func now(*api.Call) time.Time { return time.Now() }

func sleep(c *api.Call, d time.Duration) { host.Sleep(c.L, d) }

func measure(c *api.Call, fn *lua.LFunction, args ...lua.LValue) api.Values {
	start := time.Now()
	res := c.Invoke(fn, lua.MultRet, args...)
	return append(api.Values{lua.LNumber(time.Since(start).Seconds())}, res...)
}

func date(c *api.Call, v lua.LValue) (time.Time, error) {
	switch x := v.(type) {
	case lua.LNumber:
		sec, frac := math.Modf(float64(x))
		if math.IsNaN(sec) || math.Abs(sec) > 1<<53 {
			return time.Time{}, c.ArgError(1, "number of seconds out of range")
		}
		return time.Unix(int64(sec), int64(math.Round(frac*1e9))).UTC(), nil
	case lua.LString:
		return parse(c, string(x), nil)
	case *lua.LTable:
		var f dateFields
		if err := c.Index().Options(c.L, v, &f); err != nil {
			return time.Time{}, c.ArgError(1, "%s", err)
		}
		loc, err := time.LoadLocation(f.Zone)
		if err != nil {
			return time.Time{}, c.ArgError(1, "unknown time zone %q", f.Zone)
		}
		sec, frac := math.Modf(f.Sec)
		nsec := int(math.Round(frac * 1e9))
		t := time.Date(f.Year, time.Month(f.Month), f.Day, f.Hour, f.Min, int(sec), nsec, loc)
		return t, nil
	}
	return time.Time{}, c.ArgError(1, "number, string or table expected, got %s", v.Type())
}

// layouts lists the layouts that parse tries without a format.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999 -0700",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04",
	"2006-01-02 15:04",
	"2006-01-02",
	time.RFC1123Z,
	time.RFC1123,
	time.ANSIC,
}

// directives maps the directives of a format to their Go layouts.
var directives = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
	'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'z': "-0700", 'Z': "MST", 'j': "002",
	'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06",
	'%': "%", 'n': "\n", 't': "\t",
}

func parse(c *api.Call, text string, format *string) (time.Time, error) {
	if format == nil {
		for _, l := range layouts {
			if t, err := time.Parse(l, text); err == nil {
				return t, nil
			}
		}
		return time.Time{}, host.Errorf("decode", "time: %q does not have a known date format",
			text).
			WithHint("give the format as the second argument")
	}
	layout, err := layoutOf(c, *format)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return time.Time{}, host.Errorf("decode", "time: %q does not have the format %q",
			text, *format)
	}
	return t, nil
}

// layoutOf converts a strftime format to a Go layout. It refuses literal digits, because Go would
// read them as parts of the layout.
func layoutOf(c *api.Call, format string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			if format[i] >= '0' && format[i] <= '9' {
				return "", c.ArgError(2, "a format must not contain digits")
			}
			b.WriteByte(format[i])
			continue
		}
		i++
		if i == len(format) {
			return "", c.ArgError(2, "the format ends in %%")
		}
		d, ok := directives[format[i]]
		if !ok {
			return "", c.ArgError(2, "%%%c is not supported in a format that is read", format[i])
		}
		b.WriteString(d)
	}
	return b.String(), nil
}

func duration(_ *api.Call, text string) (float64, error) {
	bad := host.Errorf("decode", "time: %q is not a duration", text)
	rest := strings.TrimSpace(text)
	if f, err := strconv.ParseFloat(rest, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return f, nil
	}
	days := 0.0
	if n, after, ok := strings.Cut(rest, "d"); ok {
		f, err := strconv.ParseFloat(n, 64)
		if err != nil {
			return 0, bad
		}
		days, rest = f, after
	}
	if rest == "" && days != 0 {
		return days * 86400, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, bad
	}
	return days*86400 + d.Seconds(), nil
}
