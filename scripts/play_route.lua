#!/usr/bin/env imdlua
--- Simulate a journey along a GPX track while the script does something else.
---@recipe play-route
---@tags location
---@needs device with a mounted developer disk image
---@permissions device:control
---@arg gpx string      GPX file; a walk through Berlin by default
---@arg speed number=1  Times as fast as recorded
---@example imdlua scripts/play_route.lua --gpx commute.gpx --speed 4

local dev = device()
local file = args.string("gpx", "")

if file == "" then
  file = path.join(fs.temp_dir(), "walk.gpx")
  fs.write(file, [[
<gpx version="1.1" creator="imdlua"><trk><trkseg>
  <trkpt lat="52.51627" lon="13.37770"><time>2024-05-01T10:00:00Z</time></trkpt>
  <trkpt lat="52.51529" lon="13.36329"><time>2024-05-01T10:00:30Z</time></trkpt>
  <trkpt lat="52.51450" lon="13.35010"><time>2024-05-01T10:01:00Z</time></trkpt>
</trkseg></trk></gpx>]])
end

-- play_gpx clears the simulated location at the end of its task, also after an
-- error or Ctrl-C.
local journey = task.spawn{ name = "journey", function()
  dev:play_gpx(file, { speed = args.number("speed", 1) })
end }

-- The work during the journey. Here it starts an app and checks that it runs.
local proc = dev:launch("com.example.shop", { kill = true })
print("on the way, app is running:", proc:alive())

journey:join()
print("arrived, app is running:", proc:alive())
