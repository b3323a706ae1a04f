// Package media fills the tree of photos, books, music and recordings.
package media

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// First bytes of files, by which tools recognise their formats.
const (
	headHEIC = "\x00\x00\x00\x24ftypheic\x00\x00\x00\x00mif1MiHEMiPrmiafMiHBheic"
	headMOV  = "\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  \x00\x00\x00\x08wide"
	headM4A  = "\x00\x00\x00\x1CftypM4A \x00\x00\x00\x00M4A mp42isom"
	headDB   = "SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20"
)

// Build fills the media tree of a new phone, which AFC serves: /var/mobile/Media.
func Build(f *files.FS) {
	f.Seed("AirFair", "Airlock/Media", "Books/Purchases", "DCIM/100APPLE", "DCIM/101APPLE",
		"Downloads",
		"MediaAnalysis", "Photos", "PhotoData/Thumbnails", "PhotoData/Mutations/DCIM",
		"PublicStaging",
		"Purchases", "Recordings", "iTunes_Control/Artwork", "iTunes_Control/Device",
		"iTunes_Control/Music/F00",
		"iTunes_Control/iTunes")
	for i := range photoCount {
		f.Put(fmt.Sprintf("DCIM/100APPLE/IMG_%04d.JPG", i+1), 3*i, Photo(i))
	}
	f.Put("DCIM/100APPLE/IMG_0011.HEIC", 31, files.Headed(headHEIC, 0x0011, 1_872_311))
	f.Put("DCIM/100APPLE/IMG_0012.HEIC", 32, files.Headed(headHEIC, 0x0012, 2_104_880))
	f.Put("DCIM/100APPLE/IMG_0012.MOV", 32, files.Headed(headMOV, 0x0013, 3_407_872))
	f.Put("DCIM/100APPLE/IMG_0013.PNG", 40, screenshotFile())
	f.Put("DCIM/101APPLE/IMG_1001.MOV", 52, files.Headed(headMOV, 0x1001, 40<<20))
	f.Put("DCIM/101APPLE/IMG_1002.HEIC", 53, files.Headed(headHEIC, 0x1002, 1_655_004))
	f.Put("DCIM/101APPLE/IMG_1003.JPG", 54, Photo(1))
	f.Put("DCIM/.MISC/Incoming/placeholder", 1, files.Text(""))

	f.Put("Books/Purchases/Purchases.plist", 10, files.Text(emptyPlist))
	f.Put("Downloads/manual.pdf", 20,
		files.Headed("%PDF-1.7\n%\xE2\xE3\xCF\xD3\n", 0xD0D, 412_113))
	f.Put("Downloads/readme.txt", 21, files.Text("Files that Safari downloaded.\n"))
	f.Put("Downloads/downloads.28.sqlitedb", 21, files.Headed(headDB, 0xD0E, 196_608))
	f.Put("PhotoData/Photos.sqlite", 54, files.Headed(headDB, 0xF0, 6_291_456))
	f.Put("PhotoData/Photos.sqlite-wal", 55, files.Noise(0xF1, 524_288))
	f.Put("PhotoData/Photos.sqlite-shm", 55, files.Noise(0xF2, 32_768))
	f.Put("PhotoData/protection", 1, files.Text("1"))
	f.Deny("PhotoData/UBF")
	f.Put("Recordings/20240603 094500-5A3C.m4a", 2, files.Headed(headM4A, 0xA1, 734_003))
	f.Put("Recordings/20240604 181210-77D1.m4a", 34, files.Headed(headM4A, 0xA2, 1_998_004))
	f.Put("Recordings/CloudRecordings.db", 34, files.Headed(headDB, 0xA3, 118_784))
	f.Put("iTunes_Control/Music/F00/ABCD.m4a", 5, files.Headed(headM4A, 0xA4, 4_912_000))
	f.Put("iTunes_Control/iTunes/MediaLibrary.sqlitedb", 50, files.Headed(headDB, 0xA5, 2_412_544))
	f.Put("iTunes_Control/iTunes/iTunesPrefs", 6, files.Headed("frpd\x01\x02", 0xA6, 512))
	f.Put("iTunes_Control/iTunes/iTunesPrefs.plist", 6, files.Text(emptyPlist))
}

const emptyPlist = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict/>
</plist>
`

// photoCount is the number of different JPEG files.
const photoCount = 10

// photos are rendered when they are first read, once for all phones.
var photos = func() (all [photoCount]func() []byte) {
	for i := range all {
		all[i] = sync.OnceValue(func() []byte { return renderPhoto(i) })
	}
	return all
}()

// Photo returns the contents of a JPEG file. There are photoCount different ones.
func Photo(i int) files.Source { return files.Lazy(photos[i%photoCount]) }

// renderPhoto draws a landscape: a sky, a sun, hills.
func renderPhoto(i int) []byte {
	const w, h = 320, 240
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	base := files.Mix(uint64(i))
	sunX, sunY, hill := int(base%w), 40+int(base>>16%60), 120+int(base>>32%60)
	for y := range h {
		for x := range w {
			c := color.RGBA{uint8(90 + y/2), uint8(140 + y/3), uint8(230 - y/4), 255}
			ridge := hill + (x*(7+i)/9%97+(x*x/(40+i))%31)/4
			switch dx, dy := x-sunX, y-sunY; {
			case y > ridge:
				c = color.RGBA{uint8(40 + i*8), uint8(110 + (y-ridge)/3), uint8(50 + x/16), 255}
			case dx*dx+dy*dy < 400:
				c = color.RGBA{255, 240, 150, 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 80}); err != nil {
		panic("phone: drawing a photo: " + err.Error()) // a buffer takes everything
	}
	return b.Bytes()
}

// screenshotPNG is a picture of an empty home screen.
var screenshotPNG = sync.OnceValue(func() []byte {
	const w, h = 390, 844
	m := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{
		color.RGBA{20, 60, 120, 255}, color.RGBA{240, 240, 245, 255},
		color.RGBA{70, 120, 190, 255}})
	for y := range h {
		for x := range w {
			if x%90 > 25 && y%100 > 35 && y < 700 || y > 740 {
				m.SetColorIndex(x, y, uint8(1+(x/90+y/100)%2))
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic("phone: drawing a screenshot: " + err.Error()) // a buffer takes everything
	}
	return b.Bytes()
})

func screenshotFile() files.Source { return files.Lazy(screenshotPNG) }
