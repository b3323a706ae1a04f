#!/usr/bin/env imdlua
--- Launch an app and show what it prints, for a while or until it ends.
---@recipe stream-app-output
---@tags apps, logs
---@needs device with a mounted developer disk image
---@permissions device:control
---@arg app string=com.example.shop  Bundle id
---@arg seconds number=10            How long to read
---@arg lines number=0               How many lines to show at most, 0 for no limit
---@arg match string                 Only lines with this text
---@example imdlua scripts/stream_app_output.lua --app com.example.shop --seconds 60

local dev = device()
local most = args.number("lines", 0)
local match = args.string("match", "")

local proc = dev:launch(args.string("app", "com.example.shop"), {
  args = { "-verbose" },
  kill = true,   -- a running app would keep its arguments and its output
  output = true,
})

-- The app is killed when this script ends, also after an error or Ctrl-C.
defer(function()
  if proc:alive() then proc:kill() end
end)

local shown = 0
task.run_for(args.number("seconds", 10), function()
  for line in proc:output() do -- ends with the app
    if line:find(match, 1, true) then
      print(line)
      shown = shown + 1
      if shown == most then break end
    end
  end
end)
print(("%d lines, app is running: %s"):format(shown, tostring(proc:alive())))
