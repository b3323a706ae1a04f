package developer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// run runs Lua text with a virtual device and returns what it printed.
func run(t *testing.T, o phone.Options, source string) string {
	t.Helper()
	return devicetest.Run(t, source, devicetest.Options{Device: virtual.Options{Phone: o}})
}

func check(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	for _, profile := range identity.Profiles() {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			got := run(t, phone.Options{Profile: profile}, `
local dev = device()
local images = dev:ddi()
local i = images[1]
print(#images, i.type, i.personalized_type, i.path, #i.signature, i.attributes.IsMounted)`)
			want := "1\tPersonalized\tDeveloperDiskImage\t/System/Developer\t48\ttrue\n"
			if profile == "ios16" {
				want = "1\tDeveloper\t\t/Developer\t128\ttrue\n"
			}
			check(t, got, want)
		})
	}
}

// TestControls changes Developer Mode and the image with the options and methods of
// imd.virtual, and checks what the device reports.
func TestControls(t *testing.T) {
	t.Parallel()
	check(t, run(t, phone.Options{}, `
local virtual = require "imd.virtual"
local function show(phone)
  local dev = phone:device()
  print(dev:developer_mode(), #dev:ddi())
end
show(virtual.start())
show(virtual.start{ image = false })
show(virtual.start{ developer_mode = false })
local phone = virtual.start{ image = false, developer_mode = false }
show(phone)
phone:set_image(true)
phone:set_developer_mode(true)
show(phone)
phone:device():restart{ wait = true }
show(phone)
phone:set_image(false)
phone:set_developer_mode(false)
show(phone)
local kept = virtual.start()
kept:device():restart{ wait = true }
show(kept)`), "true\t1\ntrue\t0\nfalse\t1\nfalse\t0\ntrue\t1\ntrue\t0\nfalse\t0\ntrue\t1\n")
}

// TestMountedNotification checks that the device posts a notification when the image is
// mounted.
func TestMountedNotification(t *testing.T) {
	t.Parallel()
	check(t, run(t, phone.Options{}, `
local virtual = require "imd.virtual"
local phone = virtual.start{ image = false }
local heard = phone:device():notifications("com.apple.mobile.developer_image_mounted")
phone:set_image(true)
print(heard:next(30))`), "com.apple.mobile.developer_image_mounted\n")
}

// TestLocked checks that a locked device still lists its images.
func TestLocked(t *testing.T) {
	t.Parallel()
	check(t, run(t, phone.Options{}, `
local virtual = require "imd.virtual"
local phone = virtual.start()
local dev = phone:device()
dev:pair()
phone:lock()
print(#dev:ddi(), dev:developer_mode())`), "1\ttrue\n")
}

// TestProfiles checks that scripts can start a device of each profile, and that the error
// for an unknown profile lists all of them.
func TestProfiles(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	for _, name := range identity.Profiles() {
		p, err := phone.New(phone.Options{Profile: name, LogRate: -1})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&want, p.Identity.Version)
	}
	names := `"` + strings.Join(identity.Profiles(), `", "`) + `"`
	got := run(t, phone.Options{}, `
local virtual = require "imd.virtual"
for _, name in ipairs{ `+names+` } do print(virtual.start{ profile = name }:device().version) end
print(select(2, try(virtual.start, { profile = "ios3" })).message)`)
	message, ok := strings.CutPrefix(got, want.String())
	if !ok {
		t.Errorf("got\n%s\nwant it to begin with\n%s", got, want.String())
	}
	if known := strings.Join(identity.Profiles(), ", "); !strings.Contains(message, known) {
		t.Errorf("the error is %q, want %q in it", message, known)
	}
}

// TestImageIdentifiers asks for what a developer image is personalized for.
func TestImageIdentifiers(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]string{
		"ios16": "nil\n", "ios17": "true\ttrue\n", "ios26": "true\ttrue\n",
	} {
		got := run(t, phone.Options{Profile: profile}, `
local ids = device():image_identifiers()
if ids then print(ids.ChipID ~= nil, ids.UniqueChipID == device():get("UniqueChipID"))
else print(ids) end`)
		check(t, got, want)
	}
}
