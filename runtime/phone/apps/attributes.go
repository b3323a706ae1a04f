package apps

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// Path is the app's bundle directory on the phone.
func (a *App) Path() string {
	if a.spec.Type == User {
		return "/private/var/containers/Bundle/Application/" + a.uuid + "/" + a.spec.Name + ".app"
	}
	if a.spec.BundleID == "com.apple.mobilesafari" && a.id.Major >= 17 {
		return "/private/preboot/Cryptexes/App/System/Applications/" + a.spec.Name + ".app"
	}
	return "/Applications/" + a.spec.Name + ".app"
}

// ContainerPath is where the data container lies on the phone.
func (a *App) ContainerPath() string {
	return "/private/var/mobile/Containers/Data/Application/" + a.data.uuid
}

// Executable is where the app's executable lies on the phone.
func (a *App) Executable() string { return a.Path() + "/" + a.spec.Executable }

// Attributes returns the attributes of the app for installation_proxy, except the
// disk usage, which is sent only if a host asks for it by name. The caller owns the
// dictionary.
func (a *App) Attributes() plist.Dict {
	s := a.spec
	d := plist.Dict{
		"BuildMachineOSBuild":              "23F79",
		"CFBundleInfoDictionaryVersion":    "6.0",
		"CFBundlePackageType":              "APPL",
		"CFBundleSupportedPlatforms":       []any{"iPhoneOS"},
		"DTPlatformName":                   "iphoneos",
		"DTPlatformVersion":                a.id.Version,
		"DTSDKBuild":                       a.id.Build,
		"DTSDKName":                        "iphoneos" + a.id.Version,
		"DTXcode":                          "1540",
		"DTXcodeBuild":                     "15F31d",
		"MinimumOSVersion":                 "15.0",
		"UIDeviceFamily":                   []any{int64(1), int64(2)},
		"UIRequiredDeviceCapabilities":     []any{"arm64"},
		"UISupportedInterfaceOrientations": []any{"UIInterfaceOrientationPortrait"},
	}
	for k, v := range s.Info.Clone() {
		d[k] = v
	}
	home := a.ContainerPath()
	for k, v := range (plist.Dict{
		"ApplicationType":            s.Type,
		"CFBundleDisplayName":        s.DisplayName,
		"CFBundleExecutable":         s.Executable,
		"CFBundleIdentifier":         s.BundleID,
		"CFBundleName":               s.Name,
		"CFBundleNumericVersion":     numericVersion(s.Version),
		"CFBundleShortVersionString": s.ShortVersion,
		"CFBundleVersion":            s.Version,
		"Container":                  home,
		"Entitlements":               a.entitlements(),
		"EnvironmentVariables": plist.Dict{
			"CFFIXED_USER_HOME": home, "HOME": home, "TMPDIR": home + "/tmp",
		},
		"IsAppClip":            false,
		"IsDemotedApp":         false,
		"IsUpgradeable":        s.Type == User,
		"Path":                 a.Path(),
		"SequenceNumber":       a.seq,
		"SignerIdentity":       a.signer(),
		"UIFileSharingEnabled": s.FileSharing,
	}) {
		d[k] = v
	}
	a.attributesByKind(d)
	return d
}

// attributesByKind adds the attributes that only some apps have.
func (a *App) attributesByKind(d plist.Dict) {
	s := a.spec
	if s.Developer {
		d["ProfileValidated"] = true
	}
	if s.Type == Hidden {
		d["SBAppTags"] = []any{"hidden"}
	}
	if s.Type == User {
		group := "group." + s.BundleID
		d["GroupContainers"] = plist.Dict{group: "/private/var/mobile/Containers/Shared/AppGroup/" +
			identity.UUIDText(identity.UUID("group", group, a.id.UDID))}
	}
	if s.Type == User && !s.Developer {
		d["ApplicationDSID"] = int64(1_000_000_000 + identity.Hash(s.BundleID)%1_000_000_000)
		d["iTunesMetadata"] = itunesMetadata(s)
	}
}

func itunesMetadata(s Spec) []byte {
	b, err := plist.Encode(plist.Dict{
		"bundleShortVersionString": s.ShortVersion, "bundleVersion": s.Version,
		"itemName": s.DisplayName, "kind": "software",
		"itemId":                  int64(300_000_000 + identity.Hash(s.BundleID)%1_000_000_000),
		"softwareVersionBundleId": s.BundleID,
	}, plist.XML)
	if err != nil {
		return []byte{} // strings and integers are always encodable
	}
	return b
}

func (a *App) entitlements() plist.Dict {
	s := a.spec
	if s.Type != User {
		return plist.Dict{
			"application-identifier":                        s.BundleID,
			"com.apple.private.security.container-required": true,
		}
	}
	full := s.Team + "." + s.BundleID
	d := plist.Dict{
		"application-identifier":                full,
		"com.apple.developer.team-identifier":   s.Team,
		"com.apple.security.application-groups": []any{"group." + s.BundleID},
		"keychain-access-groups":                []any{full},
	}
	if s.Developer {
		d["get-task-allow"] = true
	}
	return d
}

func (a *App) signer() string {
	if a.spec.Developer {
		return fmt.Sprintf("Apple Development: Virtual Developer (%s)", a.spec.Team)
	}
	return "Apple iPhone OS Application Signing"
}

// numericVersion returns a version in the form of a 'vers' resource: two decimal
// digits of the major number, one digit of each other number, and 0x8000 for a
// release. 1.0 is 0x01008000.
func numericVersion(v string) int64 {
	var n [3]int64
	for i, part := range strings.SplitN(v, ".", 4) {
		if i == len(n) {
			break
		}
		x, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			break
		}
		n[i] = int64(x)
	}
	major := min(n[0], 99)
	return major/10<<28 | major%10<<24 | min(n[1], 9)<<20 | min(n[2], 9)<<16 | 0x8000
}
