#!/usr/bin/env imdlua
--- Take a picture of the screen and save it as a PNG file.
---@recipe take-screenshot
---@tags screen
---@needs device with a mounted developer disk image
---@permissions device:read, write:screen.png
---@arg to string=screen.png  File to write
---@example imdlua scripts/take_screenshot.lua --to screen.png

local dev = device()
local to = args.string("to", "screen.png")

local png = dev:screenshot{ path = to }

-- Width and height stand at a fixed place of every PNG, four bytes each.
local function number(at)
  local a, b, c, d = png:string():byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end
print(("%s: %d x %d pixels"):format(path.base(to), number(17), number(21)))
print("saved whole:", fs.stat(to).size == #png)
