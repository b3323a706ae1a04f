package bindings_test

import "testing"

// TestCore uses the CoreDevice services and compares their answers with those of other
// services.
func TestCore(t *testing.T) {
	got := run(t, `
local virtual = require "imd.virtual"
for _, profile in ipairs{ "ios17", "ios26" } do
  local dev = virtual.start{ profile = profile, log_rate = -1 }:device()
  local core = dev.core
  local names = {}
  for _, app in ipairs(core:apps()) do names[app.bundle_id] = app.name end
  print(names["com.example.shop"], #core:apps{ all = true } > #core:apps())
  print(#core:processes() == #dev:processes())
  local app, there, exit
  repeat -- until it waits before the process ends
    app, there = core:launch("com.example.shop"), false
    local waiting = task.spawn(try, core.await_exit, core, app.pid)
    core:warn_memory(app.pid)
    for _, p in ipairs(dev:processes()) do there = there or p.pid == app.pid end
    core:signal(app.pid, 9)
    local ok, e = waiting:join(10)
    if ok then exit = e elseif e.code ~= "not_found" then error(e) end
  until exit
  print(app.name, there, exit.pid == app.pid, exit.signal)
  local output = core:run("com.example.shop", { args = { "a" } })
  print(output:next())
  output:close()
  print(core:attributes().os_version == tostring(dev.version), core:attributes().udid == dev.udid)
  for _, fails in ipairs{
    function() core:launch("com.example.none") end,
    function() core:signal(99999, 9) end,
    function() core:uninstall("com.example.none") end,
  } do
    local ok, e = try(fails)
    print(ok, e.code)
  end
end`)
	const perProfile = "Shop\ttrue\ntrue\nShopDemo\ttrue\ttrue\t9\n" +
		"ShopDemo: launched with 1 arguments\ntrue\ttrue\n" +
		"false\tnot_found\nfalse\tnot_found\nfalse\tnot_found\n"
	if want := perProfile + perProfile; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
