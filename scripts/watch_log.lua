#!/usr/bin/env imdlua
--- Watch the log for a text while something happens in another task.
---@recipe watch-log
---@tags logs
---@needs device
---@permissions device:control
---@arg text string=com.apple.mobile.diagnostics_relay  What to wait for
---@arg timeout number=20                               Seconds to wait
---@example imdlua scripts/watch_log.lua --text "payment failed" --timeout 60

local dev = device()
local text = args.string("text", "com.apple.mobile.diagnostics_relay")

-- The log is opened first, so that no entry is missed.
local log = dev:syslog{ match = text }

-- The work in the meantime. Here it reads the battery; replace it by your own steps.
local work = task.spawn(function()
  return dev:battery().percent
end)

local entry = log:find(text, { timeout = args.number("timeout", 20) })
print(("%s said: %s"):format(entry.process, entry.message))
print("battery meanwhile: " .. work:join() .. "%")
print("entries lost: " .. log.dropped)
