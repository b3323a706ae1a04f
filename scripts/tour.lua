#!/usr/bin/env imdlua
--- A tour of a device: its values, apps, files, notifications and log.
---@recipe tour
---@tags start
---@needs device
---@permissions device:control
---@example imdlua --virtual scripts/tour.lua

local dev = device()
print(("%s is an %s with iOS %s (%s)"):format(dev.name, dev.product_type, dev.version, dev.build))
print("udid        " .. dev.udid)
print("time zone   " .. dev:get("TimeZone"))

local battery, disk = dev:battery(), dev:storage()
print(("battery     %d%%%s"):format(battery.percent, battery.charging and ", charging" or ""))
print(("disk        %.0f of %.0f GB free"):format(disk.data_available / 1e9, disk.total / 1e9))

local apps = dev:apps{ kind = "user" }
print(("apps        %d installed by the user, such as %s %s"):format(#apps, apps[1].name, apps[1].version))
print(("processes   %d, SpringBoard is number %d"):format(#dev:processes(), dev:process("SpringBoard").pid))

local photos = dev.files:glob("DCIM/**/*.{JPG,HEIC}")
local bytes = 0
for photo in photos do bytes = bytes + photo.size end
print(("photos      %d, %.1f MB"):format(#photos, bytes / 1e6))

-- Write a file and read it.
dev.files:write("Downloads/hello.txt", "hello from " .. dev.name)
print("file        " .. dev.files:read("Downloads/hello.txt"):string())
dev.files:remove("Downloads/hello.txt")

-- Post a notification and wait for it.
local heard = dev:notifications("com.example.tour")
dev:post("com.example.tour")
print("heard       " .. heard:next(10))

local entry = dev:syslog():next(10)
print("log         " .. (entry and "is talking" or "is silent"))

-- A service for which imdlua has no functions can be used by hand.
local svc = dev:service("com.apple.mobile.diagnostics_relay")
print("by hand     " .. svc:call({ Request = "GasGauge" }).Status)
