package bindings_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// vocabulary maps names of parameters, options and fields that must not be used to the names to
// use instead. The whole script API uses one name for one thing.
var vocabulary = map[string]string{
	// files
	"mtime": "modified", "modtime": "modified", "mod_time": "modified",
	"modified_at": "modified", "last_modified": "modified", "ctime": "created",
	"birthtime": "created", "btime": "created", "created_at": "created", "link_target": "target",
	"is_dir": "kind", "isdir": "kind", "is_file": "kind", "is_link": "kind",
	"file_type": "kind", "filetype": "kind", "filesize": "size", "st_size": "size",
	"st_mode": "mode", "filename": "path", "file_name": "path", "filepath": "path",
	"file_path": "path", "src": "from", "source": "from", "dst": "to", "dest": "to",
	"destination": "to",
	// what calls do with files
	"recurse": "recursive", "deep": "recursive", "ignore_missing": "missing_ok",
	"allow_missing": "missing_ok", "parents": "mkdir", "makedirs": "mkdir", "create_dirs": "mkdir",
	// time: all of it is in seconds
	"timeout_ms": "timeout", "ms": "timeout", "msecs": "timeout", "max_wait": "timeout",
	"wait_time": "timeout", "wait_timeout": "timeout", "deadline": "timeout",
	"poll": "interval", "poll_interval": "interval", "period": "interval", "every": "interval",
	"pause": "delay", "retries": "times", "attempts": "times", "tries": "times",
	// limits
	"max": "max_ and what is limited", "maximum": "max_ and what is limited",
	"size_limit": "max_size", "max_bytes": "max_size", "max_length": "max_size",
	"max_count": "limit",
	// functions that are called
	"callback": "fn, or on_ and the event", "cb": "fn, or on_ and the event", "func": "fn",
	"on_progress": "progress", "progress_fn": "progress",
	// devices and apps
	"profiles": "levels", "serial": "udid", "serial_number": "udid", "device_id": "udid",
	"bundle":   "bundle_id",
	"bundleid": "bundle_id", "app_id": "bundle_id", "process_id": "pid",
	// programs
	"arguments": "args", "argv": "args", "environment": "env", "env_vars": "env",
	// texts
	"sep": "separator", "str": "text", "msg": "message", "regex": "pattern", "regexp": "pattern",
	"options": "opts", "option_table": "opts",
}

// errorWords maps error codes that must not be used to the codes to use instead.
var errorWords = map[string]string{
	"denied": "access_denied", "eacces": "access_denied", "is_dir": "is_directory",
	"isdir": "is_directory", "notfound": "not_found", "enoent": "not_found",
	"no_such_file": "not_found", "timed_out": "timeout", "timeout_error": "timeout",
	"canceled": "cancelled", "already_exists": "exists", "too_big": "too_large",
	"invalid_argument": "argument", "bad_argument": "argument",
}

var (
	stubName   = regexp.MustCompile(`(?m)^---@(?:field|param) (\w+)`)
	stubRaises = regexp.MustCompile(`(?m)^---raises: (.*)$`)
)

// TestVocabulary checks that no declaration uses a name of vocabulary or a code of
// errorWords.
func TestVocabulary(t *testing.T) {
	t.Parallel()
	h, _, _ := newHost(t)
	stubs := api.Registry(h).Stubs()
	names := stubName.FindAllStringSubmatch(stubs, -1)
	if len(names) < 500 {
		t.Fatalf("found %d names in the stubs, want 500 or more", len(names))
	}
	for _, found := range names {
		if want := vocabulary[found[1]]; want != "" {
			t.Errorf("something is called %s, write %s", found[1], want)
		}
	}
	lists := stubRaises.FindAllStringSubmatch(stubs, -1)
	if len(lists) < 50 {
		t.Fatalf("found %d lists of codes in the stubs, want 50 or more", len(lists))
	}
	for _, list := range lists {
		for code := range strings.SplitSeq(list[1], ", ") {
			if want := errorWords[code]; want != "" {
				t.Errorf("something raises %s, write %s", code, want)
			}
		}
	}
}

// TestFilesOfBothSides checks that scripts see the same fields and codes for local files and for
// files of the device.
func TestFilesOfBothSides(t *testing.T) {
	t.Parallel()
	got := run(t, `
local dev, dir = device(), fs.temp_dir()
fs.mkdir(path.join(dir, "folder"))
fs.write(path.join(dir, "a.txt"), "hello")
dev.files:push(dir, "Downloads/both")
dev.files:symlink("a.txt", "Downloads/both/link")
local function show(info)
  local date = tostring(info.modified):match("^%d%d%d%d%-%d%d%-%d%d") ~= nil
  print(info.name, info.kind, info.kind == "file" and info.size, info.target, date)
end
for _, info in ipairs(fs.list(dir)) do show(info) end
for _, info in ipairs(dev.files:list("Downloads/both")) do show(info) end
for info in fs.walk(dir) do show(info) end
for info in dev.files:walk("Downloads/both") do show(info) end
show(fs.stat(path.join(dir, "folder")))
show(dev.files:stat("Downloads/both/folder"))
print(select(2, try(fs.copy, path.join(dir, "folder"), path.join(dir, "x"))).code)
print(select(2, try(fs.read, path.join(dir, "none"))).code,
  select(2, try(dev.files.read, dev.files, "none")).code)`)
	const file, folder = "a.txt\tfile\t5\t\ttrue\n", "folder\tdirectory\tfalse\t\ttrue\n"
	const link = "link\tlink\tfalse\ta.txt\ttrue\n"
	local, remote := file+folder, file+folder+link
	want := local + remote + local + remote + folder + folder +
		"is_directory\nnot_found\tnot_found\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestOldNamesOfFiles calls the methods of Files by their deprecated names.
func TestOldNamesOfFiles(t *testing.T) {
	t.Parallel()
	got := run(t, `
local files = device().files
files:write("Downloads/a", "x")
files:mv("Downloads/a", "Downloads/b")
print(#files:ls("Downloads") > 0, files:exists("Downloads/b"))
files:rm("Downloads/b")
print(files:exists("Downloads/b"))
files:help("rm")`)
	for _, want := range []string{"true\ttrue\nfalse\n", "deprecated: use files:remove"} {
		if !strings.Contains(got, want) {
			t.Errorf("printed %q, want %q in it", got, want)
		}
	}
}
