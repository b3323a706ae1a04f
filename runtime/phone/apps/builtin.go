package apps

import (
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/media"
)

// builtinApp is an app that a new phone has. build fills its container.
type builtinApp struct {
	spec  Spec
	build func(*files.FS)
}

// demoTeam signs the developer's apps.
const demoTeam = "V1RTUALDEV"

const mib = 1 << 20

// builtinApps is what a new phone has: a developer's own apps, apps of the
// store with and without file sharing, and those of the system.
var builtinApps = []builtinApp{
	{Spec{BundleID: "com.example.notes", Name: "NotesDemo", DisplayName: "Notes Demo",
		Version: "57", ShortVersion: "2.3.1",
		Developer: true, FileSharing: true, Team: demoTeam, StaticDiskUsage: 18 * mib,
		Info: plist.Dict{
			"UIBackgroundModes":                 []any{"fetch", "remote-notification"},
			"LSSupportsOpeningDocumentsInPlace": true,
		}}, notesContainer},
	{Spec{BundleID: "com.example.shop", Name: "ShopDemo", DisplayName: "Shop", Version: "1204",
		ShortVersion: "4.0",
		Developer:    true, Team: demoTeam, StaticDiskUsage: 41 * mib}, shopContainer},
	{Spec{BundleID: "com.example.notes.uitests.xctrunner", Name: "NotesUITests-Runner",
		Version: "1", ShortVersion: "1.0",
		Developer: true, Team: demoTeam, StaticDiskUsage: 6 * mib,
		Info: plist.Dict{"XCTRunnerVersion": "1"}}, nil},
	{Spec{BundleID: "com.example.reader", Name: "Reader", Version: "310", ShortVersion: "3.1",
		FileSharing: true, Team: "R3ADER0001", StaticDiskUsage: 63 * mib}, readerContainer},
	{Spec{BundleID: "com.example.sky", Name: "Sky", DisplayName: "Sky Weather", Version: "88",
		ShortVersion: "8.8.0",
		Team:         "SKYTEAM001", StaticDiskUsage: 120 * mib}, cachesContainer},
	{Spec{BundleID: "com.example.blocks", Name: "Blocks", Version: "2024.5",
		ShortVersion: "2024.5",
		Team:         "GAMETEAM01", StaticDiskUsage: 640 * mib}, cachesContainer},
	system("com.apple.AppStore", "AppStore", "App Store", 22),
	system("com.apple.DocumentsApp", "Files", "Files", 9),
	system("com.apple.Health", "Health", "Health", 31),
	system("com.apple.Maps", "Maps", "Maps", 64),
	system("com.apple.MobileAddressBook", "MobileAddressBook", "Contacts", 5),
	system("com.apple.MobileSMS", "MobileSMS", "Messages", 17),
	system("com.apple.Music", "Music", "Music", 48),
	system("com.apple.Preferences", "Preferences", "Settings", 4),
	system("com.apple.camera", "Camera", "Camera", 3),
	system("com.apple.mobilecal", "MobileCal", "Calendar", 8),
	system("com.apple.mobilemail", "MobileMail", "Mail", 19),
	system("com.apple.mobilenotes", "MobileNotes", "Notes", 14),
	system("com.apple.mobilephone", "MobilePhone", "Phone", 12),
	system("com.apple.mobilesafari", "MobileSafari", "Safari", 37),
	system("com.apple.mobileslideshow", "MobileSlideShow", "Photos", 26),
	hidden("com.apple.InCallService", "InCallService"),
	hidden("com.apple.webapp", "Web"),
	hidden("com.apple.AuthKitUIService", "AuthKitUIService"),
}

func system(id, name, display string, size uint64) builtinApp {
	return builtinApp{Spec{BundleID: id, Name: name, DisplayName: display, Version: "1.0",
		ShortVersion: "1.0",
		Type:         System, Team: "0000000000", StaticDiskUsage: size * mib}, nil}
}

func hidden(id, name string) builtinApp {
	b := system(id, name, name, 2)
	b.spec.Type = Hidden
	return b
}

func notesContainer(f *files.FS) {
	f.Put("Documents/Welcome.txt", 1,
		files.Text("Welcome to Notes Demo.\n\nPull down to search, swipe left to delete.\n"))
	f.Put("Documents/Groceries.txt", 26, files.Text("bread\nmilk\ncoffee\n2 lemons\n"))
	f.Put("Documents/Archive/2023.json", 2,
		files.Text(
			`{"notes":[{"id":1,"title":"Trip","done":true},{"id":2,"title":"Taxes","done":false}]}`+
				"\n",
		))
	f.Put("Documents/Inbox/scan.pdf", 30,
		files.Headed("%PDF-1.4\n%\xE2\xE3\xCF\xD3\n", 0xD0C, 184_320))
	f.Put("Library/Preferences/com.example.notes.plist", 40, preferences(plist.Dict{
		"fontSize": int64(15), "lastOpened": files.Epoch.Add(40 * time.Hour), "syncEnabled": true,
		"theme": "dark"}))
	f.Put("Library/Application Support/Notes.sqlite", 41,
		files.Headed("SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20", 0x501, 1_245_184))
	f.Put("Library/Caches/com.example.notes/Cache.db", 41,
		files.Headed("SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20", 0x502, 86_016))
	f.Put("tmp/upload-1.part", 42, files.Noise(0x503, 4_096))
}

func shopContainer(f *files.FS) {
	f.Put("Documents/orders.json", 5,
		files.Text(`{"orders":[{"id":"A-1001","total":"19.90"},{"id":"A-1002","total":"7.45"}]}`+"\n"))
	f.Put("Library/Preferences/com.example.shop.plist", 6, preferences(plist.Dict{
		"basket": []any{"SKU-7", "SKU-12"}, "currency": "EUR", "onboardingDone": true}))
	f.Put("Library/Caches/images/7f3a.jpg", 6, media.Photo(3))
}

func readerContainer(f *files.FS) {
	f.Put("Documents/Books/Moby Dick.epub", 3,
		files.Headed("PK\x03\x04\x14\x00\x00\x08\x00\x00", 0xB00C, 1_310_720))
	f.Put("Documents/Books/Walden.epub", 4,
		files.Headed("PK\x03\x04\x14\x00\x00\x08\x00\x00", 0xB00D, 655_360))
	f.Put("Documents/bookmarks.json", 50,
		files.Text(`{"Moby Dick":{"chapter":32},"Walden":{"chapter":2}}`+"\n"))
}

func cachesContainer(f *files.FS) {
	f.Put("Library/Caches/Cache.db", 12,
		files.Headed("SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20", 0xCACE, 2_097_152))
}

// preferences is a binary property list, as apps keep their defaults.
func preferences(d plist.Dict) files.Source {
	return files.Lazy(func() []byte {
		b, err := plist.Encode(d, plist.Binary)
		if err != nil {
			return nil // the dictionaries above are encodable
		}
		return b
	})
}
