package stdlib_test

import (
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// shared has Lua text for each class from which several tasks can read. It ends with "return
// object, want", where want lists the items as text: the result of tostring(item), or item.path.
var shared = map[string]string{
	// The lines are longer in total than the buffer of 64 KB.
	"Lines": `
local file, want = fs.temp_file(), {}
for i = 1, 2000 do want[i] = i .. ("x"):rep(60) .. i end
fs.write(file, table.concat(want, "\n") .. "\n")
return fs.lines(file), want`,
	"Walk": `
local dir, want = fs.temp_dir(), {}
for i = 1, 20 do
  local sub = path.join(dir, "d" .. i)
  table.insert(want, sub)
  for j = 1, 10 do
    local file = path.join(sub, "f" .. j)
    fs.write(file, "", { mkdir = true })
    table.insert(want, file)
  end
end
return fs.walk(dir), want`,
	"File": `
local file, want = io.tmpfile(), {}
for i = 1, 500 do
  want[i] = tostring(i)
  file:write(want[i], "\n")
end
file:seek("set")
return file:lines(), want`,
	"ProcessOutput": `
local want = {}
for i = 1, 2000 do want[i] = i .. ("x"):rep(60) .. i end
local text = table.concat(want, "\n")
return require("imd.exec").start({ "cat" }, { stdin = text }):lines(), want`,
	"HTTPStream": `
local want = {}
for i = 1, 2000 do want[i] = i .. ("x"):rep(60) .. i end
local http = require "imd.http"
local server = http.server()
server:on("/", table.concat(want, "\n"))
return http.stream(server.url), want`,
	"HTTPServer": `
local http = require "imd.http"
local server, want, jobs = http.server{ reply_timeout = 2 }, {}, {}
for i = 1, 20 do
  want[i] = "/" .. i
  jobs[i] = function() http.get(server.url .. want[i]) end
end
task.spawn(function()
  task.all(jobs)
  server:close()
end)
return server, want`,
	// The source waits each time, so that both tasks are in the chain at the same time.
	"Iterator": `
local queue, want = task.queue(), {}
for i = 1, 200 do
  want[i] = tostring(i)
  queue:put(i)
end
queue:close()
local function slow(i) task.sleep(0) return i end
return require("imd.iter").from(queue):map(slow):chunks(3):flatten(), want`,
	"Queue": `
local queue, want = task.queue(), {}
for i = 1, 500 do
  want[i] = tostring(i)
  queue:put(i)
end
queue:close()
return queue, want`,
}

// TestTwoTasks reads from one instance in two tasks. Each item must be read exactly once, as a
// whole.
func TestTwoTasks(t *testing.T) {
	t.Parallel()
	for _, m := range api.Registry(newHost(t, host.Options{})).Modules() {
		for _, c := range m.Classes {
			reads := slices.ContainsFunc(c.Methods, func(f *api.Func) bool {
				return f.Name == "next" || f.Name == "read"
			})
			if c.Next == nil && !reads {
				continue
			}
			source, ok := shared[c.Name]
			if !ok {
				t.Errorf("several tasks can read from the class %s, "+
					"but shared of stdlib/turn_test.go has no entry", c.Name)
				continue
			}
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				testTwoTasks(t, source)
			})
		}
	}
}

func testTwoTasks(t *testing.T, source string) {
	out, err := run(t, host.Options{}, `
local object, want = (function() `+source+` end)()
local got, readers = {}, {}
local function reader()
  for item in object do
    local key = type(item) == "userdata" and item.path or tostring(item)
    got[key] = (got[key] or 0) + 1
    readers[task.current()] = true
  end
end
task.all{ reader, reader }
for _, key in ipairs(want) do
  if got[key] ~= 1 then print("came " .. tostring(got[key] or 0) .. " times: " .. key) end
  got[key] = nil
end
for key in pairs(got) do print("not expected: " .. key) end`)
	if err != nil {
		t.Fatal(err)
	}
	if out != "" {
		t.Error(out)
	}
}
