#!/usr/bin/env imdlua
--- Push a file into an app's Documents and read it back.
---@recipe push-documents
---@tags files, apps
---@needs device
---@permissions device:modify
---@arg bundle string=   App with file sharing; the first one found by default
---@arg file string=     Local file; a new temporary file by default
---@example imdlua scripts/push_documents.lua --bundle com.example.shop --file fixtures/cart.json

local dev = device()

local bundle = args.string("bundle", "")
if bundle == "" then
  for _, app in ipairs(dev:apps{ kind = "user" }) do
    if app.file_sharing then bundle = app.bundle_id break end
  end
end
assert(bundle ~= "", "no app with file sharing is installed")

local file = args.string("file", "")
if file == "" then
  file = path.join(fs.temp_dir(), "note.txt")
  fs.write(file, "pushed by imdlua\n")
end

local docs = dev:app_files(bundle, { docs = true })
local target = "Documents/" .. path.base(file)
local sent = docs:push(file, target)
local back = docs:read(target):string()
assert(back == fs.read(file), "the file that was read back differs")
docs:remove(target)
print(("%s: %d bytes of %s sent and read back"):format(bundle, sent.bytes, path.base(file)))
