#!/usr/bin/env imdlua
--- Talk to a service that nothing here knows: send a request, show the answer.
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

-- What does it say to nonsense? An error here is an answer, too.
local ok, answer = try(svc.call, svc, { Request = "Nonsense" }, { timeout = 5 })
print("nonsense:", ok and answer.Status or answer.code)

ok, answer = try(dev.service, dev, "com.example.not.there")
print("no such service:", answer.code)
