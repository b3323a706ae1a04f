package phone

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"sync"
)

// Media is the tree that AFC serves, /var/mobile/Media on the phone.
func (p *Phone) Media() *FS { return p.media }

// Beginnings that tell tools what a file is.
const (
	headHEIC = "\x00\x00\x00\x24ftypheic\x00\x00\x00\x00mif1MiHEMiPrmiafMiHBheic"
	headMOV  = "\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  \x00\x00\x00\x08wide"
	headM4A  = "\x00\x00\x00\x1CftypM4A \x00\x00\x00\x00M4A mp42isom"
	headDB   = "SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20"
)

// buildMedia fills a new phone's media tree.
func buildMedia(f *FS) {
	f.seed("AirFair", "Airlock/Media", "Books/Purchases", "DCIM/100APPLE", "DCIM/101APPLE",
		"Downloads",
		"MediaAnalysis", "Photos", "PhotoData/Thumbnails", "PhotoData/Mutations/DCIM",
		"PublicStaging",
		"Purchases", "Recordings", "iTunes_Control/Artwork", "iTunes_Control/Device",
		"iTunes_Control/Music/F00",
		"iTunes_Control/iTunes")
	for i := range photoCount {
		f.put(fmt.Sprintf("DCIM/100APPLE/IMG_%04d.JPG", i+1), 3*i, photo(i))
	}
	f.put("DCIM/100APPLE/IMG_0011.HEIC", 31, headed{headHEIC, noise{0x0011, 1_872_311}})
	f.put("DCIM/100APPLE/IMG_0012.HEIC", 32, headed{headHEIC, noise{0x0012, 2_104_880}})
	f.put("DCIM/100APPLE/IMG_0012.MOV", 32, headed{headMOV, noise{0x0013, 3_407_872}})
	f.put("DCIM/100APPLE/IMG_0013.PNG", 40, screenshotFile())
	f.put("DCIM/101APPLE/IMG_1001.MOV", 52, headed{headMOV, noise{0x1001, 40 << 20}})
	f.put("DCIM/101APPLE/IMG_1002.HEIC", 53, headed{headHEIC, noise{0x1002, 1_655_004}})
	f.put("DCIM/101APPLE/IMG_1003.JPG", 54, photo(1))
	f.put("DCIM/.MISC/Incoming/placeholder", 1, text(""))

	f.put("Books/Purchases/Purchases.plist", 10, text(emptyPlist))
	f.put("Downloads/manual.pdf", 20,
		headed{"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n", noise{0xD0D, 412_113}})
	f.put("Downloads/readme.txt", 21, text("Files that Safari downloaded.\n"))
	f.put("Downloads/downloads.28.sqlitedb", 21, headed{headDB, noise{0xD0E, 196_608}})
	f.put("PhotoData/Photos.sqlite", 54, headed{headDB, noise{0xF0, 6_291_456}})
	f.put("PhotoData/Photos.sqlite-wal", 55, noise{0xF1, 524_288})
	f.put("PhotoData/Photos.sqlite-shm", 55, noise{0xF2, 32_768})
	f.put("PhotoData/protection", 1, text("1"))
	f.deny("PhotoData/UBF")
	f.put("Recordings/20240603 094500-5A3C.m4a", 2, headed{headM4A, noise{0xA1, 734_003}})
	f.put("Recordings/20240604 181210-77D1.m4a", 34, headed{headM4A, noise{0xA2, 1_998_004}})
	f.put("Recordings/CloudRecordings.db", 34, headed{headDB, noise{0xA3, 118_784}})
	f.put("iTunes_Control/Music/F00/ABCD.m4a", 5, headed{headM4A, noise{0xA4, 4_912_000}})
	f.put("iTunes_Control/iTunes/MediaLibrary.sqlitedb", 50, headed{headDB, noise{0xA5, 2_412_544}})
	f.put("iTunes_Control/iTunes/iTunesPrefs", 6, headed{"frpd\x01\x02", noise{0xA6, 512}})
	f.put("iTunes_Control/iTunes/iTunesPrefs.plist", 6, text(emptyPlist))
}

const emptyPlist = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict/>
</plist>
`

// text is a file of the string.
func text(s string) source { return literal(s) }

type literal string

func (s literal) length() int64            { return int64(len(s)) }
func (s literal) fill(p []byte, off int64) { copy(p, s[off:]) }

// photoCount is how many different JPEG files there are.
const photoCount = 10

// photos are rendered when first looked at, once for all phones.
var photos = func() (all [photoCount]func() []byte) {
	for i := range all {
		all[i] = sync.OnceValue(func() []byte { return renderPhoto(i) })
	}
	return all
}()

func photo(i int) source { return lazyBytes(photos[i%photoCount]) }

// renderPhoto draws a landscape: a sky, a sun, hills.
func renderPhoto(i int) []byte {
	const w, h = 320, 240
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	base := mix(uint64(i))
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

func screenshotFile() source { return lazyBytes(screenshotPNG) }
