#!/usr/bin/env imdlua
--- Measure CPU and memory of an app for a while and write them to a CSV file.
---@recipe measure-app
---@tags apps, performance
---@needs device with a mounted developer disk image
---@permissions device:control, write:measure.csv
---@arg app string=com.example.shop  Bundle id; the app is launched if it is not running
---@arg to string=measure.csv        File to write
---@arg samples number=10            How many samples
---@arg interval number=1            Seconds between them
---@example imdlua scripts/measure_app.lua --app com.example.shop --samples 60

local csv = require "imd.csv"

local dev = device()
local wanted = args.number("samples", 10)
local to = args.string("to", "measure.csv")
local proc = dev:launch(args.string("app", "com.example.shop"))

local out = csv.writer(to, { "time", "cpu_percent", "memory_mb", "device_cpu_percent" })
local begin, peak = nil, 0

-- The stream continues when the device was unplugged and is plugged in again.
local samples = dev:sysmon{ interval = args.number("interval", 1) }
for s in samples do
  for _, p in ipairs(s.processes) do
    -- The first sample of a process has no load, which is computed from two samples.
    if p.pid == proc.pid and p.cpu then
      begin = begin or s.time
      local memory = (p.memory or 0) / 2 ^ 20
      peak = math.max(peak, memory)
      out:row{ ("%.2f"):format(s.time.unix - begin.unix), ("%.1f"):format(p.cpu), ("%.1f"):format(memory), s.cpu }
    end
  end
  if out.rows == wanted then break end
  if not proc:alive() then errors.raise{ code = "app_ended", message = "the app has ended" } end
end

print(("%s: %d samples, %d gaps"):format(path.base(to), out.rows, samples.gaps))
print("memory was measured:", peak > 0)
