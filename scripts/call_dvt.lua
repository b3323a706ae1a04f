#!/usr/bin/env imdlua
--- Call any method of the Instruments server, and listen to its events.
---@recipe call-dvt
---@tags apps, protocols
---@needs device with a mounted developer disk image
---@permissions device:raw
---@arg app string=com.example.shop  App whose start is observed
---@example imdlua scripts/call_dvt.lua --app com.example.shop

local dev = device()
local app = args.string("app", "com.example.shop")
local dvt = dev:dvt()

-- Any method of any channel can be called. The common prefix of the names may be left out.
local info = dvt:call("deviceinfo", "systemInformation")
print("same device:", info._productType == dev.product_type)
print("user 501 is", dvt:call("deviceinfo", "nameForUID:", 501))

-- The known selectors of a channel. A device may have more or fewer.
for _, selector in ipairs(dvt:selectors("LocationSimulation")) do print("  " .. selector) end

-- A channel of its own receives the events that the device sends.
local news = dvt:channel("mobilenotifications")
news:send("setApplicationStateNotificationsEnabled:", true)
local pid = dvt:call("processcontrol",
  "launchSuspendedProcessWithDevicePath:bundleIdentifier:environment:arguments:options:",
  "", app, {}, array{}, { StartSuspendedKey = 0, KillExisting = 1 })
local event = news:events():find(function(e)
  return e.args[1] and e.args[1].pid == pid
end, { timeout = 20 })
print(event.selector, event.args[1].displayID)
dvt:call("processcontrol", "killPid:", pid)

-- A method that the device does not have is an error with a code. The connection stays usable.
local ok, e = try(dvt.call, dvt, "deviceinfo", "noSuchMethod")
print(ok, e.code, dvt:call("deviceinfo", "isRunningPid:", pid))
