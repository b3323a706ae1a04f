package stdlib_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

const imageSource = `local image = require("imd.image")
local p = image.new(4, 3, "white"):rect({ x = 1, y = 1, width = 2, height = 1 }, "red")
`

func TestImage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"fields", `print(p, p.width, p.height, p.format, p.size.width)`,
			"Picture<4x3>\t4\t3\tnil\t4\n"},
		{"pixels begin at 0", `print(p:pixel(1, 1)) print(p:pixel(0, 0))`,
			"255\t0\t0\t255\n255\t255\t255\t255\n"},
		{"colours", `
for _, c in ipairs{ "#0f0", "#00ff00", "#00ff0080", { 0, 255, 0 }, { 0, 255, 0, 7 } } do
  print(image.new(1, 1, c):pixel(0, 0))
end
print(image.new(1, 1):pixel(0, 0))`,
			"0\t255\t0\t255\n0\t255\t0\t255\n0\t255\t0\t128\n0\t255\t0\t255\n0\t255\t0\t7\n" +
				"0\t0\t0\t0\n"},
		{"crop with a box", `
local diff = p:diff(image.new(4, 3, "white"))
print(diff, diff.score, diff.compared, diff.box:totable().width, diff.picture:pixel(1, 1))
print(p:crop(diff.box) == image.new(2, 1, "red"), p:crop{ width = 1, height = 1 }:pixel(0, 0))`,
			"PictureDiff<2 of 12 pixels differ>\t0.16666666666666666\t12\t2\t255\t0\t0\t255\n" +
				"true\t255\t255\t255\t255\n"},
		{"masks", `
local white = image.new(4, 3, "white")
local mask = image.new(4, 3):rect({ width = 2, height = 3 }, "black")
print(p:diff(white, { mask = { { x = 1, y = 1, width = 1, height = 1 } } }).count)
print(p:diff(white, { mask = p:diff(white).box }).count)
print(p:diff(white, { mask = { x = 2, width = 2, height = 3 } }).count)
print(p:diff(white, { mask = mask }).count)`, "1\n0\n1\n1\n"},
		{"files", `
local dir, p = fs.temp_dir(), image.new(16, 16, "red")
for _, name in ipairs{ "a.png", "a.JPG", "a.jpeg", "a" } do
  local file = path.join(dir, name)
  p:save(file)
  local q = image.open(file)
  print(q.format, p:diff(file, { threshold = 0.2 }).count, #q == fs.stat(file).size)
end`, "png\t0\ttrue\njpeg\t0\ttrue\njpeg\t0\ttrue\npng\t0\ttrue\n"},
		{"quality", `
local noisy = image.new(64, 64, "blue")
for i = 0, 60, 3 do noisy = noisy:rect({ x = i, y = i, width = 2, height = 9 }, "orange") end
print(#noisy:encode("jpeg", { quality = 5 }) < #noisy:encode("jpg", { quality = 95 }))`, "true\n"},
		{"as bytes", `
local q = image.decode(p:encode())
print(q:string() == p:string(), q:hex():sub(1, 8), q:byte(2), q:sub(2, 4):string())
print(hash.md5(q) == hash.md5(q:string()), base64.encode(q) == q:base64(), #(q .. "x") - #q)
local file = fs.temp_file()
fs.write(file, q)
print(image.open(file) == p, plist.decode(plist.encode{ icon = q }).icon == data(q:string()))`,
			"true\t89504e47\t80\tPNG\ntrue\ttrue\t1\ntrue\ttrue\n"},
		{"equality", `
local q = image.decode(p:encode())
print(p == q, p == q:flip(), p == q:flip():flip(), p == q:rotate(90))`,
			"true\ttrue\ttrue\tfalse\n"},
		{"sizes", `
print(p:resize{ width = 8 }.height, p:resize{ height = 1 }.width, p:rotate(-90).width)
print(p:resize{ width = 9, height = 1 })`, "6\t1\t3\nPicture<9x1>\n"},
		{"hashes", `
local big = image.new(64, 64, "white"):rect({ width = 32, height = 64 }, "black")
for _, kind in ipairs{ "dhash", "phash" } do
  local hash = big:hash(kind)
  print(#hash, image.distance(hash, big:grayscale():hash(kind)),
    image.distance(hash, big:flip():hash(kind)) > 4)
end`, "16\t0\ttrue\n16\t0\ttrue\n"},
		{"find", `
local m = p:find(image.new(2, 1, "red"))
print(m.x, m.y, m.width, m.height, m.score, p:crop(m) == image.new(2, 1, "red"))
print(p:find(image.new(2, 2, "red")), p:find(image.new(9, 9, "red")))`,
			"1\t1\t2\t1\t0\ttrue\nnil\tnil\n"},
		{"expectation", `
local file = fs.temp_file(".png")
local diff = p:diff(image.new(4, 3, "white"))
print(diff:expect_below(0.5) == diff, p:diff(p):expect_below(0).count)
local ok, e = try(diff.expect_below, diff, 0.01, { save = file })
print(e.code, e.message, e.details.count)
print(image.open(file) == diff.picture)`, "true\t0\nassertion\t16.7% of the pixels differ " +
			"(2 of 12, between x=1 y=1 and x=2 y=1), want less than 1%\t2\ntrue\n"},
		{"two tasks decode one picture", `
local q = image.decode(image.new(300, 300, "red"):encode())
print(#task.map({ 1, 2, 3, 4 }, 4, function() return q:rotate(90) == q end))`, "4\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, imageSource+tc.source, tc.want)
		})
	}
}

func TestImageErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, text string }{
		{`image.open("/no/such/file.png")`, "not_found", "/no/such/file.png"},
		{`image.open(fs.temp_file())`, "decode", "neither"},
		{`image.decode("GIF89a")`, "decode", "neither a PNG nor a JPEG"},
		{`image.decode(p:encode():sub(1, 60))`, "decode", "not enough pixel data"},
		{`image.new(0, 1)`, "argument", "0x1"},
		{`image.new(1, 70000)`, "argument", "70000"},
		{`image.new(1, 1, "rot")`, "argument", "red"},
		{`image.new(1, 1, "#12")`, "argument", "#rrggbb"},
		{`image.new(1, 1, { 1, 2, 256 })`, "argument", "0 to 255"},
		{`image.new(1, 1, { 1, 2 })`, "argument", "{r, g, b}"},
		{`p:pixel(4, 0)`, "argument", "3, 2"},
		{`p:pixel(-1, 0)`, "argument", "-1, 0"},
		{`p:pixel(0.5, 0)`, "argument", "integer"},
		{`p:crop{ x = 3, width = 2, height = 1 }`, "argument", "not inside of 4x3"},
		{`p:crop{ width = 2 }`, "argument", "height"},
		{`p:crop{ width = 2, height = 1, z = 1 }`, "argument", "unknown option"},
		{`p:crop{ x = 2^40, width = 1, height = 1 }`, "argument", "out of range"},
		{`p:resize{}`, "argument", "missing"},
		{`p:resize{ width = -1 }`, "argument", "-1"},
		{`p:rotate(45)`, "argument", "multiple of 90"},
		{`p:flip("up")`, "argument", "vertical"},
		{`p:rect({ width = 1, height = 1 })`, "argument", "color"},
		{`p:rect({ width = 1, height = 0 }, "red")`, "argument", "1 or more"},
		{`p:rect({ width = 1, height = 1 }, "red", { line = -1 })`, "argument", "line"},
		{`p:save(path.join(fs.temp_dir(), "a.gif"))`, "argument", ".png"},
		{`p:save("/no/such/folder/a.png")`, "not_found", "image"},
		{`p:save(fs.temp_file(".png"), { quality = 3 })`, "argument", "PNG"},
		{`p:encode("jpeg", { quality = 0 })`, "argument", "1 to 100"},
		{`p:encode("bmp")`, "argument", "jpeg"},
		{`p:diff(p:rotate(90))`, "size_mismatch", "4x3 and 3x4"},
		{`p:diff(1)`, "argument", "Picture or path"},
		{`p:diff("/no/such/file.png")`, "not_found", "/no/such/file.png"},
		{`p:diff(p, { threshold = 2 })`, "argument", "threshold"},
		{`p:diff(p, { treshold = 0.1 })`, "argument", "threshold"},
		{`p:diff(p, { mask = { width = 4, height = 3 } })`, "argument", "covers"},
		{`p:diff(p, { mask = image.new(1, 1) })`, "size_mismatch", "1x1"},
		{`p:diff(p, { mask = { 1 } })`, "argument", "table"},
		{`p:hash("md5")`, "argument", "phash"},
		{`image.distance("12", "34")`, "argument", "16 hexadecimal"},
		{`p:find(image.new(1, 1))`, "argument", "transparent"},
		{`p:find(p, { different = 1 })`, "argument", "different"},
		{`p.widht()`, "no_field", "width"},
		{`fs.write(fs.temp_file(), p)`, "argument", "Picture"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, imageSource+tc.source, tc.code, tc.text)
		})
	}
}

// TestImageMemory makes pictures that exceed the memory limit.
func TestImageMemory(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	if err := png.Encode(&bomb, image.NewGray(image.Rect(0, 0, 8000, 8000))); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{
		`image.new(8000, 8000)`,
		`image.decode(bomb)`,
		`p:resize{ width = 8000, height = 8000 }`,
		`local all = {} for i = 1, 100 do all[i] = image.new(1000, 1000, "red") end`,
		`local small = image.new(3000, 3000) small:rotate(90)`,
	} {
		t.Run(source, func(t *testing.T) {
			h := newHost(t, host.Options{MaxMemory: 64 << 20})
			h.SetGlobal("bomb", lua.LString(bomb.String()))
			err := h.Run(t.Context(), "test.lua", imageSource+source)
			var e *host.Error
			if !errors.As(err, &e) {
				t.Fatalf("error = %v, want a *host.Error", err)
			}
			if e.Code != "memory" {
				t.Errorf("code = %q (%v), want memory", e.Code, err)
			}
		})
	}
}

// TestImageCancelled stops tasks in the middle of their work. Each must end at its deadline.
func TestImageCancelled(t *testing.T) {
	t.Parallel()
	m := image.NewNRGBA(image.Rect(0, 0, 3000, 3000))
	for i := range 9_000_000 {
		m.SetNRGBA(i%3000, i/3000, color.NRGBA{byte(i * i), byte(i >> 3), byte(i), 255})
	}
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(&file, m); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "large.png")
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	prints(t, "local name = "+quote(name)+`
local image = require("imd.image")
local p = image.open(name)
for _, f in ipairs{
  function() image.open(name) end,
  function() p:flip():encode("png") end,
  function() p:flip():encode("jpeg") end,
  function() p:diff(p:flip("vertical")) end,
  function() p:find(p:crop{ width = 1500, height = 1500 }:flip(), { different = 0.9 }) end,
} do
  local ok, e = try(task.timeout, 0.02, f)
  print(ok or e.code)
end`, "timeout\ntimeout\ntimeout\ntimeout\ntimeout\n")
}
