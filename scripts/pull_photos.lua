#!/usr/bin/env imdlua
--- Pull photos and videos that were not pulled before, and keep a manifest.
---@recipe pull-photos
---@tags files
---@needs device
---@permissions device:read, write:photos
---@arg to string=photos                          Folder to pull into
---@arg pattern string=DCIM/**/*.{JPG,HEIC,MOV}   Which files
---@example imdlua scripts/pull_photos.lua --to ~/Pictures/shelf3

local dev = device()
local folder = args.string("to", "photos")
local pattern = args.string("pattern", "DCIM/**/*.{JPG,HEIC,MOV}")

fs.mkdir(folder)
local manifest = path.join(folder, "manifest.json")
local seen = fs.exists(manifest) and json.read(manifest) or dict{}

local pulled, bytes = 0, 0
for file in dev.files:glob(pattern) do
  if seen[file.path] ~= file.size then
    dev.files:pull(file.path, path.join(folder, file.path), { timeout = 600 })
    seen[file.path] = file.size
    pulled, bytes = pulled + 1, bytes + file.size
    json.write(manifest, seen, { pretty = true }) -- after each file, so that a stop loses nothing
  end
end
print(("%d files, %.1f MB pulled into %s"):format(pulled, bytes / 1e6, path.base(folder)))
