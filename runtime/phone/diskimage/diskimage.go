// Package diskimage has the developer disk image: which image a phone accepts, and whether
// it is mounted.
package diskimage

import (
	"crypto/sha512"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// Image is a developer disk image as a phone has it mounted.
type Image struct {
	// Type is "Developer" up to iOS 16 and "Personalized" since then.
	Type string
	// PersonalizedType is "DeveloperDiskImage" for a personalized image.
	PersonalizedType string
	// MountPath is where it lies: /Developer or /System/Developer.
	MountPath string
	// Signature is that of the image file, 128 bytes, or the SHA-384 digest of a
	// personalized one, 48 bytes.
	Signature []byte
	// BackingImage is the file, DeviceNode what the kernel made of it.
	BackingImage, DeviceNode, Filesystem string
}

// imageKind is how the images of some iOS versions are.
type imageKind struct {
	since                             int // iOS major
	name, personalized, path, backing string
	fs                                string
	signature                         func(*identity.Identity) []byte
}

// imageKinds are in ascending order; the last one that is not newer than the
// phone counts.
var imageKinds = []imageKind{
	{name: "Developer", path: "/Developer", fs: "hfs",
		backing: "/private/var/mobile/Library/Caches/com.apple.mobile.storage_mounter/staging.dimage",
		// Each iOS version has an image of its own.
		signature: func(id *identity.Identity) []byte {
			return identity.Bytes(128, "image", id.Version)
		}},
	{since: 17, name: "Personalized", personalized: "DeveloperDiskImage", path: "/System/Developer",
		fs:      "apfs",
		backing: "/private/var/personalized_factory/DeveloperDiskImage.dmg",
		// One image is for all phones.
		signature: func(*identity.Identity) []byte {
			sum := sha512.Sum384([]byte("DeveloperDiskImage"))
			return sum[:]
		}},
}

func kindOf(major int) *imageKind {
	k := &imageKinds[0]
	for i := range imageKinds {
		if imageKinds[i].since <= major {
			k = &imageKinds[i]
		}
	}
	return k
}

// Options of a Mount.
type Options struct {
	Identity      *identity.Identity
	Notifications *notifications.Center
	// Absent leaves the image unmounted, and has each Boot unmount it as a real
	// phone's does. Otherwise it is mounted and stays so.
	Absent bool
}

// Mount is where the developer image is mounted, if it is. All methods may be called
// concurrently.
type Mount struct {
	o    Options
	kind *imageKind

	mu      sync.RWMutex
	mounted bool
}

// New returns the Mount of a new phone.
func New(o Options) *Mount {
	return &Mount{o: o, kind: kindOf(o.Identity.Major), mounted: !o.Absent}
}

// Boot unmounts the image if Options.Absent was set, as a restart of a real phone
// does. Otherwise the image stays mounted, because scripts that restart the phone
// should work without a host that mounts the image again.
func (m *Mount) Boot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mounted = m.mounted && !m.o.Absent
}

// IsMounted reports whether a developer image is mounted. It is on a new
// phone, and stays so over a Boot, unless Options.Absent was set.
func (m *Mount) IsMounted() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.mounted
}

// Mounted returns the developer image that is mounted.
func (m *Mount) Mounted() (Image, bool) {
	if !m.IsMounted() {
		return Image{}, false
	}
	return m.Accepted(), true
}

// Accepted returns the developer image that the phone accepts, mounted or not.
func (m *Mount) Accepted() Image {
	return Image{Type: m.kind.name, PersonalizedType: m.kind.personalized,
		MountPath: m.kind.path, Signature: m.kind.signature(m.o.Identity),
		BackingImage: m.kind.backing, DeviceNode: "disk4s1", Filesystem: m.kind.fs}
}

// Mount mounts the developer image as if a host had sent it, and posts
// notifications.ImageMounted. It does nothing if the image is mounted already.
func (m *Mount) Mount() {
	if m.set(true) {
		m.o.Notifications.Post(notifications.ImageMounted)
	}
}

// Unmount unmounts the developer image. It posts no notification.
func (m *Mount) Unmount() { m.set(false) }

// set changes whether the image is mounted, and reports whether that was a change.
func (m *Mount) set(mounted bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.mounted != mounted
	m.mounted = mounted
	return changed
}

// PersonalizationIdentifiers returns the identifiers for which a ticket of a
// personalized image is made, or nil before iOS 17. The caller owns the dictionary.
func (m *Mount) PersonalizationIdentifiers() plist.Dict {
	if m.kind.personalized == "" {
		return nil
	}
	id := m.o.Identity
	return plist.Dict{
		"Ap,OSLongVersion":             id.LongVersion(),
		"Ap,ProductType":               id.ProductType,
		"Ap,SDKPlatform":               "iphoneos",
		"Ap,Target":                    id.Hardware,
		"BoardId":                      id.BoardID,
		"CertificateProductionStatus":  true,
		"CertificateSecurityMode":      true,
		"ChipID":                       int64(id.ChipID),
		"EffectiveProductionStatusAp":  true,
		"EffectiveProductionStatusSEP": true,
		"EffectiveSecurityModeAp":      true,
		"EffectiveSecurityModeSEP":     true,
		"SecurityDomain":               int64(identity.SecurityDomain),
		"UniqueChipID":                 int64(id.ECID),
	}
}
