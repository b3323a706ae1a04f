package identity

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// SecurityDomain is the security domain of every phone that runs Apple's iOS.
const SecurityDomain = 1

// production holds the values that every production phone has when it runs iOS.
// None of them is a lockdown value. Unsigned integers stay unsigned.
var production = []struct {
	key   string
	value any
}{
	{"AppleInternal", false},
	{"CertificateProductionStatus", true},
	{"CertificateSecurityMode", true},
	{"DeviceSupportsLockdown", true},
	{"EffectiveProductionStatusSEP", true},
	{"EffectiveSecurityModeSEP", true},
	{"Image4CryptoHashMethod", "sha2-384"},
	{"IsUIBuild", true},
	{"IsVirtualDevice", false}, // true only in virtual machines of Apple
	{"OSInstallEnvironment", false},
	{"SecurityDomain", uint64(SecurityDomain)},
	{"SensitivePropertiesVisible", true},
	{"SigningFuse", true},
	{"StoreDemoMode", false},
}

// Production returns the values about manufacturing and booting of the phone, by
// Apple's names. They are booleans, strings and uint64. The caller owns the
// dictionary.
func (id *Identity) Production() plist.Dict {
	d := make(plist.Dict, len(production)+1)
	for _, v := range production {
		d[v.key] = v.value
	}
	if long := id.LongVersion(); long != "" {
		d["RestoreLongVersion"] = long
	}
	return d
}

// VersionNumber returns the iOS version as one number: 1705 for 17.5.1.
func (id *Identity) VersionNumber() int {
	minor := 0
	if parts := strings.Split(id.Version, "."); len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return id.Major*100 + minor
}

// LongVersion returns the build in its long form: 21.6.90.0.0,0 for 21F90.
func (id *Identity) LongVersion() string { return longVersion(id.Build) }

// longVersion returns the long form of a build: 21.6.90.0.0,0 for 21F90, and
// 22.1.297.5.6,0 for the beta 22A5297f. It returns "" if build is not a build.
func longVersion(build string) string {
	i := strings.IndexFunc(build, func(r rune) bool { return r >= 'A' && r <= 'Z' })
	if i < 1 {
		return ""
	}
	number, beta := build[i+1:], 0
	if n := len(number); n > 0 && number[n-1] >= 'a' && number[n-1] <= 'z' {
		beta = int(number[n-1]-'a') + 1
		number = number[:n-1]
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return ""
	}
	return build[:i] + "." + strconv.Itoa(int(build[i]-'A')+1) + "." + strconv.Itoa(n%1000) + "." +
		strconv.Itoa(n/1000) + "." + strconv.Itoa(beta) + ",0"
}

// KernelVersion returns the output of uname -v.
func (id *Identity) KernelVersion() string {
	return fmt.Sprintf("Darwin Kernel Version %s: root:xnu/RELEASE_ARM64_%s", id.Darwin,
		strings.ToUpper(id.Platform))
}
