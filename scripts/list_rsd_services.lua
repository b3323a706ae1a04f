#!/usr/bin/env imdlua
--- List the services (RSD) in the tunnel of a device with iOS 17 or later.
---@recipe list-rsd-services
---@tags protocol
---@needs device
---@permissions device:read
---@arg filter string  Only names with this text
---@arg ports flag     Also the ports, which change with each restart
---@example imdlua scripts/list_rsd_services.lua --filter coredevice --ports

local dev = device()
local filter = args.string("filter", "")

local ok, tun = try(dev.tunnel, dev)
if not ok then
  -- Up to iOS 16 there are no tunnels, and lockdown starts all services.
  if tun.code ~= "no_tunnel" then error(tun) end
  print("no tunnel: " .. tun.message:match("no tunnel can be made: (.*)"))
  return
end

local listed, kinds = 0, { checkin = "as lockdown has it", xpc = "RemoteXPC", raw = "its own protocol" }
for _, service in ipairs(tun:services()) do
  if service.name:find(filter, 1, true) then
    local port = args.flag("ports") and (" port %d"):format(service.port) or ""
    print(("%s  (%s%s)"):format(service.name, kinds[service.transport], port))
    for _, feature in ipairs(service.features) do print("  " .. feature) end
    listed = listed + 1
  end
end
print(("%d service%s"):format(listed, listed == 1 and "" or "s"))
