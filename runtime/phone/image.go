package phone

import (
	"crypto/sha512"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
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
	signature                         func(*profile) []byte
}

// imageKinds are in ascending order; the last one that is not newer than the
// phone counts.
var imageKinds = []imageKind{
	{name: "Developer", path: "/Developer", fs: "hfs",
		backing: "/private/var/mobile/Library/Caches/com.apple.mobile.storage_mounter/staging.dimage",
		// Each iOS version has an image of its own.
		signature: func(prof *profile) []byte { return bytesOf(128, "image", prof.version) }},
	{since: 17, name: "Personalized", personalized: "DeveloperDiskImage", path: "/System/Developer",
		fs:      "apfs",
		backing: "/private/var/personalized_factory/DeveloperDiskImage.dmg",
		// One image is for all phones.
		signature: func(*profile) []byte {
			sum := sha512.Sum384([]byte("DeveloperDiskImage"))
			return sum[:]
		}},
}

func (prof *profile) imageKind() *imageKind {
	k := &imageKinds[0]
	for i := range imageKinds {
		if imageKinds[i].since <= prof.major {
			k = &imageKinds[i]
		}
	}
	return k
}

// imageState is whether the developer image is mounted.
type imageState struct {
	mu       sync.RWMutex
	mounted  bool
	fleeting bool // does not survive a restart
}

// boot unmounts the image of a phone that was made without one, as a restart
// does to every real phone. All others keep theirs: to mount it again is the
// host's business, and a script that restarts the phone must not stop working
// here only because nobody does.
func (s *imageState) boot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounted = s.mounted && !s.fleeting
}

// ImageMounted reports whether a developer image is mounted. It is on a new
// phone, and stays so over a Boot, unless Options.NoImage was set.
func (p *Phone) ImageMounted() bool {
	p.image.mu.RLock()
	defer p.image.mu.RUnlock()
	return p.image.mounted
}

// DeveloperServices reports whether what the developer image brings can be
// used: it is mounted and, since iOS 16, Developer Mode is on.
func (p *Phone) DeveloperServices() bool {
	return p.ImageMounted() && (!p.HasDeveloperMode() || p.DeveloperMode())
}

// HasDeveloperMode reports whether there is a Developer Mode at all, as since
// iOS 16.
func (p *Phone) HasDeveloperMode() bool { return p.field(domainAMFI, "DeveloperModeStatus") != nil }

// MountedImage returns the developer image that is mounted.
func (p *Phone) MountedImage() (Image, bool) {
	if !p.ImageMounted() {
		return Image{}, false
	}
	return p.DeveloperImage(), true
}

// DeveloperImage returns the developer image that this phone takes, mounted or
// not.
func (p *Phone) DeveloperImage() Image {
	k := p.prof.imageKind()
	return Image{Type: k.name, PersonalizedType: k.personalized, MountPath: k.path,
		Signature:    k.signature(p.prof),
		BackingImage: k.backing, DeviceNode: "disk4s1", Filesystem: k.fs}
}

// MountImage mounts the developer image as if a host had brought it, and posts
// NoteImageMounted. Mounted already, it stays so and nobody hears of it.
func (p *Phone) MountImage() {
	if p.setImage(true) {
		p.Post(NoteImageMounted)
	}
}

// UnmountImage takes the developer image away. Phones post nothing then.
func (p *Phone) UnmountImage() { p.setImage(false) }

// setImage reports whether that was a change.
func (p *Phone) setImage(mounted bool) bool {
	p.image.mu.Lock()
	defer p.image.mu.Unlock()
	changed := p.image.mounted != mounted
	p.image.mounted = mounted
	return changed
}

// PersonalizationIdentifiers is what a ticket for a personalized image is made
// for; nil before iOS 17. The caller owns the dictionary.
func (p *Phone) PersonalizationIdentifiers() plist.Dict {
	if p.prof.imageKind().personalized == "" {
		return nil
	}
	return plist.Dict{
		"Ap,OSLongVersion":             p.LongVersion(),
		"Ap,ProductType":               p.prof.productType,
		"Ap,SDKPlatform":               "iphoneos",
		"Ap,Target":                    p.prof.hardware,
		"BoardId":                      p.prof.boardID,
		"CertificateProductionStatus":  true,
		"CertificateSecurityMode":      true,
		"ChipID":                       int64(p.prof.chipID),
		"EffectiveProductionStatusAp":  true,
		"EffectiveProductionStatusSEP": true,
		"EffectiveSecurityModeAp":      true,
		"EffectiveSecurityModeSEP":     true,
		"SecurityDomain":               int64(securityDomain),
		"UniqueChipID":                 int64(p.id.ecid),
	}
}
