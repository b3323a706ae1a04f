#!/usr/bin/env imdlua
--- Send a request to any service, also one that imdlua does not know, and show the answer.
---@recipe poke-service
---@tags protocol
---@needs device
---@permissions device:read, raw
---@arg service string=com.apple.mobile.diagnostics_relay  Name of the service
---@arg request string=WiFi                                Value of its Request key
---@arg dump flag                                          Show every byte
---@example imdlua scripts/poke_service.lua --service com.apple.mobile.diagnostics_relay --request NAND --dump

local dev = device()
local svc = dev:service(args.string("service", "com.apple.mobile.diagnostics_relay"))
svc:hexdump(args.flag("dump"))

p(svc:call{ Request = args.string("request", "WiFi") })

-- Send a request that does not exist. Some services answer it, others end the connection.
local ok, answer = try(svc.call, svc, { Request = "Nonsense" }, { timeout = 5 })
print("nonsense:", ok and answer.Status or answer.code)

ok, answer = try(dev.service, dev, "com.example.not.there")
print("no such service:", answer.code)
