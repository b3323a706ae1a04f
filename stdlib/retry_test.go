package stdlib_test

import (
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/host"
)

const functions = `
local function R(...) return require("imd.retry")(...) end
local function E(...) return require("imd.eventually")(...) end
`

func TestRetry(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"delays", `
local retry, start = require("imd.retry"), time.now().unix
local ok, e = try(R, function() error({ code = "timeout", message = "late" }) end,
  { times = 4, delay = 1, backoff = 2, max_delay = 3, on_error = function(e, n)
    print(n, e.code, time.now().unix - start)
  end })
print(ok, e.code, e.details.tries)`,
			"1\ttimeout\t0\n2\ttimeout\t1\n3\ttimeout\t3\n4\ttimeout\t6\nfalse\ttimeout\t4\n"},
		{"other code", `
local n = 0
local ok, e = try(R, function() n = n + 1 error("plain") end,
  { on = { "timeout" } })
print(ok, e.code, e.details.tries, n)`, "false\terror\t1\t1\n"},
		{"cancel", `
local t = task.spawn(R, function() error("x") end, { delay = 100 })
task.sleep(1)
t:cancel()
task.sleep(1)
print(t:done())`, "true\n"},
		{"eventually", `
local start = time.now().unix
local ok, e = try(E, function() error("why") end, { message = "no icon" })
print(ok, e.code, e.message, time.now().unix - start)
print(require("imd.eventually")(function() return 1, nil, 3 end))`,
			"false\ttimeout\tno icon within 10s (51 calls)\t10\n1\tnil\t3\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				out, err := run(t, host.Options{}, functions+tc.source)
				if err != nil {
					t.Fatal(err)
				}
				if out != tc.want {
					t.Errorf("printed %q, want %q", out, tc.want)
				}
			})
		})
	}
}

func TestRetryErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, text string }{
		{`require("imd.retry")(1)`, "argument", "function"},
		{`require("imd.retry")(print, { times = 0 })`, "argument", "times"},
		{`require("imd.retry")(print, { jitter = 2 })`, "argument", "jitter"},
		{`require("imd.retry")(print, { backoff = 0 })`, "argument", "backoff"},
		{`require("imd.eventually")(print, { interval = math.huge })`, "argument", "interval"},
		{`require("imd.eventually")(print, { wait = 1 })`, "argument", "unknown option"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, tc.source, tc.code, tc.text)
		})
	}
}

func TestUTF8(t *testing.T) {
	t.Parallel()
	const require = "local utf8 = require(\"imd.utf8\")\n"
	for _, tc := range []struct{ source, want string }{
		{`utf8.len(""), utf8.valid(""), utf8.sub("", 1), utf8.reverse("")`, "0\ttrue\t\t"},
		{`utf8.sub("日本語", 2, 2), utf8.sub("abc", 3, 2), utf8.sub("abc", -9, 9)`, "本\t\tabc"},
		{`utf8.offset("äb", -1), utf8.offset("äb", 0, 2), utf8.offset("äb", 9)`, "3\t1\tnil"},
		{`("aäb"):match("^" .. utf8.charpattern .. utf8.charpattern)`, "aä"},
		{`utf8.valid("\237\160\128")`, "false\t1"},
	} {
		prints(t, require+"print("+tc.source+")", tc.want+"\n")
	}
	for _, tc := range []struct{ source, code, text string }{
		{`utf8.len("ab\255")`, "decode", "byte 3 (0xff)"},
		{`utf8.codes("\128")`, "decode", "byte 1"},
		{`utf8.char(0x110000)`, "argument", "not a code point"},
		{`utf8.codepoint("ä", 2)`, "argument", "inside a character"},
		{`utf8.codepoint(("x"):rep(300), 1, -1)`, "too_large", "200"},
		{`utf8.escape(("\255"):rep(900))`, "memory", ""},
	} {
		fails(t, host.Options{MaxString: 1000}, require+tc.source, tc.code, tc.text)
	}
}
