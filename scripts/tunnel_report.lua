#!/usr/bin/env imdlua
--- Report the routes to a device, the use of each with the reason, and what works.
---@recipe tunnel-report
---@tags start, protocol
---@needs device
---@permissions device:read
---@arg verbose flag  Also addresses and times
---@example imdlua scripts/tunnel_report.lua --verbose

local dev = device()
local verbose = args.flag("verbose")
print(("%s (%s, iOS %s)"):format(dev.name, dev.product_type, dev.version))

-- A device without tunnels, as with iOS 16, is not an error: lockdown starts all services.
local ok, tun = try(dev.tunnel, dev)

for _, route in ipairs(dev:routes()) do
  local at = verbose and " at " .. route.address or ""
  print(("route    %s, %s%s: %s"):format(route.kind, route.via, at, route.use))
  print("        " .. (verbose and route.why or (route.why:gsub(" took %d+ ms", " is up"))))
end

if ok then
  local size = tun.mtu > 0 and (", packets of up to %d bytes"):format(tun.mtu) or "" -- unknown in tunnels of other programs
  print(("tunnel  %s%s, number %d"):format(tun.how, size, tun.generation))
  if verbose then print(("        %s port %d, up in %.0f ms"):format(tun.address, tun.rsd_port, tun.took * 1000)) end
else
  print("tunnel  none: " .. tun.code)
end

-- One probe of each kind. A probe that fails prints the error code.
local function probe(what, f)
  local begun = time.monotonic()
  local worked, e = try(f)
  local took = verbose and (" in %.1f ms"):format((time.monotonic() - begun) * 1000) or ""
  print(("probe   %s: %s%s"):format(what, worked and "works" or e.code, took))
end

probe("a value of lockdown", function() dev:get("DeviceName") end)
probe("files", function() dev.files:exists("DCIM") end)
probe("Instruments, first call", function() dev:dvt():call("deviceinfo", "systemInformation") end)
probe("Instruments, next call", function() dev:dvt():call("deviceinfo", "systemInformation") end)
probe("services in the tunnel", function() return #dev:tunnel():services() end)
