#!/usr/bin/env imdlua
--- Run one function on several devices at the same time and compare the results.
---@recipe run-on-many
---@tags fleet
---@needs device
---@permissions device:read
---@arg virtual integer=0   How many virtual devices to start as well
---@example imdlua scripts/run_on_many.lua --virtual 3

local virtual = require "imd.virtual"
local profiles = { "ios16", "ios17", "ios18" }
for i = 1, args.number("virtual", 0) do
  virtual.start{ profile = profiles[(i - 1) % #profiles + 1], name = "Virtual " .. i }
end

local function check(dev)
  local disk = dev:storage()
  return {
    name = dev.name, version = dev.version,
    apps = #dev:apps{ kind = "user" },
    free = disk.data_available / disk.data_capacity,
  }
end

-- At most four devices at the same time. The results have the order of the devices.
local results = task.map(devices(), 4, check)
for _, r in ipairs(results) do
  print(("%-14s iOS %-7s %2d apps, %s"):format(r.name, r.version, r.apps, r.free > 0.1 and "enough space" or "nearly full"))
end
