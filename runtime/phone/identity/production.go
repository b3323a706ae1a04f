package identity

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// SecurityDomain is that of every phone that runs Apple's iOS.
const SecurityDomain = 1

// production is what holds for every production phone that has booted iOS.
// Lockdown has none of these values; integers without a sign are kept so.
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
	{"IsVirtualDevice", false}, // of a virtual machine of Apple's
	{"OSInstallEnvironment", false},
	{"SecurityDomain", uint64(SecurityDomain)},
	{"SensitivePropertiesVisible", true},
	{"SigningFuse", true},
	{"StoreDemoMode", false},
}

// Production returns what the phone says about how it was made and how it was
// booted, by Apple's names: booleans, strings and uint64. The caller owns the
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

// VersionNumber is the iOS version as one number: 1705 for 17.5.1.
func (id *Identity) VersionNumber() int {
	minor := 0
	if parts := strings.Split(id.Version, "."); len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return id.Major*100 + minor
}

// LongVersion spells the build out: 21.6.90.0.0,0 for 21F90.
func (id *Identity) LongVersion() string { return longVersion(id.Build) }

// longVersion spells a build out: 21F90 is 21.6.90.0.0,0 and the beta 22A5297f
// is 22.1.297.5.6,0. What is not a build is "".
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

// KernelVersion is what uname -v says.
func (id *Identity) KernelVersion() string {
	return fmt.Sprintf("Darwin Kernel Version %s: root:xnu/RELEASE_ARM64_%s", id.Darwin,
		strings.ToUpper(id.Platform))
}
