#!/usr/bin/env imdlua
--- Do something each time a Darwin notification is posted on the device.
---@recipe act-on-notification
---@tags notifications
---@needs device
---@permissions device:control
---@arg name string=com.apple.mobile.lockdown.device_name_changed  Notification to wait for
---@arg count integer=2                                            How many to wait for
---@example imdlua scripts/act_on_notification.lua --name com.apple.springboard.lockstate

local dev = device()
local name = args.string("name", "com.apple.mobile.lockdown.device_name_changed")
local heard = dev:notifications(name)

-- For the default notification the script posts it itself, by renaming the device twice.
if name == "com.apple.mobile.lockdown.device_name_changed" then
  task.spawn(function()
    local before = dev:get("DeviceName")
    dev:set("DeviceName", before .. " (watched)")
    dev:set("DeviceName", before)
  end)
end

for i = 1, args.number("count", 2) do
  local got = heard:next(60)
  assert(got, "nothing was posted within a minute")
  print(("%d: %s"):format(i, got))
end
