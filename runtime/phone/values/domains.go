package values

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// Domains that the model itself refers to.
const (
	domainAMFI          = "com.apple.security.mac.amfi"
	domainInternational = "com.apple.international"
	domainWireless      = "com.apple.mobile.wireless_lockdown"
)

// lockdownDomains holds the fields of all domains; "" is the default domain.
var lockdownDomains = map[string][]field{
	"": defaultDomain,
	domainAMFI: {
		{key: "DeveloperModeStatus", since: 16, get: is(true)},
	},
	domainInternational: {
		{key: "Keyboard", flags: writable, get: is("en_US@sw=QWERTY;hw=Automatic"), set: setString},
		{key: "Language", flags: writable, get: is("en"), set: setString, after: languageChanged},
		{key: "Locale", flags: writable, get: is("en_US"), set: setString},
		{
			key: "SupportedKeyboards",
			get: words("en_US de_DE fr_FR es_ES it_IT ja_JP-Kana zh_Hans-Pinyin emoji"),
		},
		{
			key: "SupportedLanguages",
			get: words("en en-GB de fr es it ja ko zh-Hans zh-Hant nl pt-BR pl ru sv tr uk"),
		},
		{key: "SupportedLocales", get: words(
			"en_US en_GB de_DE de_AT fr_FR es_ES it_IT ja_JP ko_KR zh_CN nl_NL pt_BR pl_PL ru_RU sv_SE tr_TR uk_UA",
		)},
	},
	domainWireless: {
		{key: "BonjourFullServiceName", get: own((*Values).bonjourName)},
		{
			key: "EnableWifiConnections", flags: writable, get: is(true), set: setBool,
			after: wirelessChanged,
		},
		{key: "EnableWifiDebugging", flags: writable, get: is(true), set: setBool},
		{key: "InstanceName", get: own(
			func(vs *Values) string { return strings.TrimSuffix(vs.bonjourName(), bonjourSuffix) },
		)},
		{key: "SupportsWifi", get: is(true)},
		{key: "SupportsWifiSyncing", get: is(true)},
	},
	"com.apple.mobile.battery": {
		{
			key: "BatteryCurrentCapacity",
			get: own(func(vs *Values) int64 { return int64(vs.o.Battery().Percent) }),
		},
		{
			key: "BatteryIsCharging",
			get: own(func(vs *Values) bool { return vs.o.Battery().Filling() }),
		},
		{
			key: "ExternalChargeCapable",
			get: own(func(vs *Values) bool { return vs.o.Battery().Charging }),
		},
		{
			key: "ExternalConnected",
			get: own(func(vs *Values) bool { return vs.o.Battery().Charging }),
		},
		{
			key: "FullyCharged",
			get: own(func(vs *Values) bool { return vs.o.Battery().Percent == 100 }),
		},
		{key: "GasGaugeCapability", get: is(true)},
		{key: "HasBattery", get: is(true)},
	},
	"com.apple.disk_usage":         diskUsage,
	"com.apple.disk_usage.factory": diskUsage,
	"com.apple.Accessibility": {
		{key: "AssistiveTouchEnabledByiTunes", flags: writable, get: is(int64(0)), set: setSwitch},
		{
			key: "ClosedCaptioningEnabledByiTunes", flags: writable, get: is(int64(0)),
			set: setSwitch,
		},
		{key: "InvertDisplayEnabledByiTunes", flags: writable, get: is(int64(0)), set: setSwitch},
		{key: "MonoAudioEnabledByiTunes", flags: writable, get: is(int64(0)), set: setSwitch},
		{
			key: "SpeakAutoCorrectionsEnabledByiTunes", flags: writable, get: is(int64(0)),
			set: setSwitch,
		},
		{key: "VoiceOverTouchEnabledByiTunes", flags: writable, get: is(int64(0)), set: setSwitch},
		{key: "ZoomTouchEnabledByiTunes", flags: writable, get: is(int64(0)), set: setSwitch},
	},
	"com.apple.mobile.backup": {
		{key: "CloudBackupEnabled", get: is(false)},
		{key: "RequiresEncrypt", get: is(false)},
		{key: "Version", get: is("2.4")},
		{key: "WillEncrypt", get: is(false)},
	},
	"com.apple.mobile.iTunes": {
		{key: "ConnectionBundles", get: dict(plist.Dict{})},
		{key: "MinITunesVersion", get: is("12.12")},
		{key: "MinMacOSVersion", get: is("10.15.7")},
		{key: "SyncDataClasses", get: words("Contacts Calendars Bookmarks Notes")},
		{key: "iTunesSetupComplete", get: is(true)},
	},
	"com.apple.iTunes": {
		{key: "LibraryApplications", get: words("")},
		{key: "PrefsID", get: own(func(vs *Values) string {
			uuid := identity.UUIDText(identity.UUID("prefs", vs.id.UDID))
			return strings.ReplaceAll(uuid, "-", "")[:16]
		})},
	},
	"com.apple.mobile.iTunes.store": {
		{key: "AccountKind", get: is(int64(0))},
		{key: "AppleID", get: is("virtual@example.com")},
		{key: "CreditDisplayString", get: is("")},
		{key: "DSPersonID", get: own(
			func(vs *Values) int64 { return int64(1_000_000_000 + vs.id.Seed%1_000_000_000) },
		)},
		{key: "KnownAccounts", get: words("")},
		{key: "StoreFront", get: is("143441-1,29")},
	},
	"com.apple.fmip": {
		{key: "IsAssociated", get: is(false)},
	},
	"com.apple.fairplay": {
		{key: "FairPlayCertificate", get: data(1024, "fairplay")},
		{key: "FairPlayDeviceType", get: is(int64(112))},
		{key: "FairPlayGUID", get: own(func(vs *Values) string { return vs.id.UDID })},
		{key: "FairPlayID", get: data(20, "fairplay id")},
		{key: "KeyTypeSupportVersion", get: is(int64(492))},
	},
	"com.apple.mobile.chaperone": {
		{key: "DeviceIsChaperoned", get: is(false)},
	},
	"com.apple.mobile.lockdown_cache": {
		{key: "ActivationState", get: activationState},
	},
	"com.apple.mobile.internal": {
		{key: "DevToolsAvailable", get: is("Standard")},
		{key: "IsInternal", get: is(false)},
		{key: "UIBuild", get: is(true)},
		{key: "VoidWarranty", get: is(false)},
	},
	"com.apple.purplebuddy": setupDomain,
	"com.apple.PurpleBuddy": setupDomain,
	"com.apple.mobile.restriction": {
		{key: "ProhibitAppDelete", get: is(false)},
		{key: "ProhibitAppInstall", get: is(false)},
	},
	"com.apple.mobile.data_sync": {
		{key: "Bookmarks", get: dict(syncSources)},
		{key: "Calendars", get: dict(syncSources)},
		{key: "Contacts", get: dict(syncSources)},
		{key: "Notes", get: dict(syncSources)},
	},
	"com.apple.mobile.tethered_sync": {
		{key: "Bookmarks", get: dict(tethered)},
		{key: "Calendars", get: dict(tethered)},
		{key: "Contacts", get: dict(tethered)},
		{key: "Notes", get: dict(tethered)},
	},
	"com.apple.mobile.software_behavior": {
		{key: "GoogleMail", get: is(false)},
		{key: "NTSC", get: is(false)},
		{key: "Valid", get: is(true)},
	},
	"com.apple.xcode.developerdomain": {
		{key: "DeveloperStatus", get: is("Development")},
	},
}

var setupDomain = []field{
	{key: "SetupDone", get: is(true)},
	{key: "SetupFinishedAllSteps", get: is(true)},
	{key: "SetupState", get: is("SetupUsingAssistant")},
	{key: "SetupVersion", get: is(int64(11))},
}

// diskUsage describes the volume of the file trees and apps.
var diskUsage = []field{
	{
		key: "AmountDataAvailable",
		get: own(func(vs *Values) int64 { return max(int64(vs.o.Free())-diskReserve, 0) }),
	},
	{key: "AmountDataReserved", get: is(int64(diskReserve))},
	{
		key: "AmountRestoreAvailable",
		get: own(func(vs *Values) int64 { return int64(vs.o.Free()) + purgeable }),
	},
	{key: "CalculateDiskUsage", get: is("OkilyDokily")},
	{key: "NANDInfo", get: data(64, "nand")},
	{key: "TotalDataAvailable", get: own(func(vs *Values) int64 { return int64(vs.o.Free()) })},
	{key: "TotalDataCapacity", get: own(func(vs *Values) int64 { return int64(vs.id.Capacity) })},
	{
		key: "TotalDiskCapacity",
		get: own(func(vs *Values) int64 { return int64(vs.id.Capacity + vs.id.SystemSize) }),
	},
	{key: "TotalSystemAvailable", get: is(int64(0))},
	{
		key: "TotalSystemCapacity",
		get: own(func(vs *Values) int64 { return int64(vs.id.SystemSize) }),
	},
}

const (
	diskReserve = 200 << 20
	purgeable   = 3 << 30
)

// syncSources and tethered are the values of each data class in the sync domains.
var (
	syncSources = plist.Dict{"AccountNames": []any{"iCloud"}, "Sources": []any{"iCloud"}}
	tethered    = plist.Dict{"DisableTethered": false, "SyncingOS": "MacOS"}
)

func words(list string) func(*Values) any {
	return func(*Values) any {
		out := []any{}
		for _, w := range strings.Fields(list) {
			out = append(out, w)
		}
		return out
	}
}

func dict(d plist.Dict) func(*Values) any { return func(*Values) any { return d.Clone() } }

// activationState is the default domain's, wherever that comes from.
func activationState(vs *Values) any { return vs.written("", "ActivationState", "Activated") }

const bonjourSuffix = "._apple-mobdev2._tcp.local."

// bonjourName returns the Bonjour name of lockdown over Wi-Fi. It consists of the
// MAC address, the link-local address that is derived from it, and the version of
// remote pairing.
func (vs *Values) bonjourName() string {
	mac := binary.BigEndian.AppendUint64(nil, vs.id.MAC)[2:]
	ip := netip.AddrFrom16([16]byte{0: 0xFE, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2],
		11: 0xFF, 12: 0xFE, 13: mac[3], 14: mac[4], 15: mac[5]})
	return vs.id.WiFi + "@" + ip.String() + vs.remotePairingSuffix() + bonjourSuffix
}

// remotePairingSuffix returns the part of the Bonjour name about remote pairing. It
// has no version before iOS 17.4.
func (vs *Values) remotePairingSuffix() string {
	switch v := vs.id.RemotePairing; {
	case v == 0:
		return ""
	case vs.id.VersionNumber() < 1704:
		return "-supportsRP"
	default:
		return "-supportsRP-" + strconv.FormatInt(v, 10)
	}
}

// wirelessChanged calls the functions of OnWireless.
func wirelessChanged(vs *Values) {
	vs.mu.RLock()
	fns := vs.onWireless[:len(vs.onWireless):len(vs.onWireless)]
	vs.mu.RUnlock()
	for _, fn := range fns {
		fn()
	}
}

// languageChanged restarts the home screen, as the phone does.
func languageChanged(vs *Values) {
	vs.o.Notifications.Post(notifications.Language)
	vs.o.RestartHome()
	vs.o.Notifications.Post(notifications.Startup)
}
