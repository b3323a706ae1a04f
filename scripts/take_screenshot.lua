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

local picture = dev:screenshot{ path = to }
print(("%s: %d x %d pixels"):format(path.base(to), picture.width, picture.height))
print("saved whole:", fs.stat(to).size == #picture)
