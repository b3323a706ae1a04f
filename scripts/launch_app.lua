#!/usr/bin/env imdlua
--- Start an app with arguments at a simulated place, read what it prints, end it.
---@recipe launch-app
---@tags apps, location
---@needs device with a mounted developer disk image
---@permissions device:control
---@arg app string=com.example.shop  Bundle id
---@arg lat number=48.8584           Degrees north
---@arg lon number=2.2945            Degrees east
---@arg lines number=3               Lines of output to read
---@example imdlua scripts/launch_app.lua --app com.example.shop --lat 52.52 --lon 13.405

local dev = device()
local app = args.string("app", "com.example.shop")

-- The simulated location ends with imdlua at the latest.
dev:set_location(args.number("lat", 48.8584), args.number("lon", 2.2945))

local proc = dev:launch(app, {
  args = { "-reset", "yes" },
  env = { MODE = "test" },
  kill = true,   -- a running app would keep its old arguments
  output = true, -- read what it prints
})
print("started:", proc:alive())

local output = proc:output()
for _, line in ipairs(output:collect{ count = args.number("lines", 3), seconds = 20 }) do
  print(line)
end

-- The stream of lines ends with the process.
proc:kill()
while output:next(20) do end
print("still there:", proc:alive())
dev:clear_location()

local ok, e = try(dev.launch, dev, "com.example.none")
print("unknown app:", e.code)
