#!/usr/bin/env imdlua
--- List the connected devices, one a line, or those with a given iOS version.
---@recipe list-devices
---@tags start, fleet
---@needs device
---@permissions device:read
---@arg os string=  Condition on the iOS version, such as ">=17.0"
---@example imdlua scripts/list_devices.lua --os ">=17.0"

local os_condition = args.string("os", "")
local list = devices(os_condition ~= "" and { os = os_condition } or nil)
for _, dev in ipairs(list) do
  print(("%-26s %-20s %-12s %-8s %s"):format(dev.udid, dev.name, dev.product_type, dev.version, dev.transport))
end
print(#list .. (#list == 1 and " device" or " devices"))
