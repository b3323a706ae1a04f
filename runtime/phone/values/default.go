package values

import (
	"fmt"

	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// is returns a getter for a constant, which is a string, a number or a boolean.
func is(v any) func(*Values) any { return func(*Values) any { return v } }

// own returns a getter that calls get, whose result has any type.
func own[T any](get func(*Values) T) func(*Values) any {
	return func(vs *Values) any { return get(vs) }
}

// data returns a getter for n bytes that are computed from the name and the UDID.
func data(n int, name string) func(*Values) any {
	return func(vs *Values) any { return identity.Bytes(n, name, vs.id.UDID) }
}

// fill returns a getter for n bytes with the value b.
func fill(n int, b byte) func(*Values) any {
	return func(*Values) any {
		out := make([]byte, n)
		for i := range out {
			out[i] = b
		}
		return out
	}
}

// note returns a function that posts a notification.
func note(name string) func(*Values) { return func(vs *Values) { vs.o.Notifications.Post(name) } }

// defaultDomain is lockdown's domain without a name.
var defaultDomain = []field{
	{
		key: "ActivationState", get: own(func(vs *Values) string { return vs.o.Activation }),
		after: note(notifications.Activation),
	},
	{key: "ActivationStateAcknowledged", get: own((*Values).activated)},
	{key: "BasebandActivationTicketVersion", get: is("V2")},
	{
		key: "BasebandCertId", flags: public,
		get: own(func(vs *Values) int64 { return vs.id.BasebandCert }),
	},
	{key: "BasebandChipID", get: own(func(vs *Values) int64 { return vs.id.BasebandChip })},
	{key: "BasebandKeyHashInformation", flags: public, get: basebandKeyHash},
	{key: "BasebandMasterKeyHash", get: own(
		func(vs *Values) string {
			return fmt.Sprintf("%X", identity.Bytes(48, "bbmk", vs.id.Name))
		},
	)},
	{key: "BasebandRegionSKU", get: fill(64, 0)},
	{key: "BasebandSerialNumber", flags: public, get: basebandSerial},
	{key: "BasebandStatus", get: is("BBInfoAvailable")},
	{
		key: "BasebandVersion", flags: public,
		get: own(func(vs *Values) string { return vs.id.BasebandVersion }),
	},
	{key: "BluetoothAddress", get: own(func(vs *Values) string { return vs.id.Bluetooth })},
	{key: "BoardId", flags: public, get: own(func(vs *Values) int64 { return vs.id.BoardID })},
	{
		key:   "BootSessionID",
		since: 15,
		get:   own(func(vs *Values) string { return vs.o.Clock.BootID() }),
	},
	{key: "BrickState", get: own(func(vs *Values) bool { return !vs.activated() })},
	{key: "BuildVersion", flags: public, get: own(func(vs *Values) string { return vs.id.Build })},
	{
		key: "CPUArchitecture", flags: public,
		get: own(func(vs *Values) string { return vs.id.Architecture() }),
	},
	{key: "CarrierBundleInfoArray", get: func(vs *Values) any { return []any{carrierBundle(vs)} }},
	{key: "CertID", get: own(func(vs *Values) int64 { return vs.id.BasebandCert })},
	{key: "ChipID", flags: public, get: own(func(vs *Values) int64 { return int64(vs.id.ChipID) })},
	{key: "ChipSerialNo", get: basebandSerial},
	{
		key: "DeviceClass", flags: public,
		get: own(func(vs *Values) string { return string(vs.id.DeviceClass()) }),
	},
	{key: "DeviceColor", flags: public, get: own(func(vs *Values) string { return vs.id.Color })},
	{
		key: "DeviceName", flags: public | writable, get: own((*Values).Name), set: setName,
		after: note(notifications.DeviceName),
	},
	{key: "DieID", flags: public, get: own(func(vs *Values) int64 { return int64(vs.id.ECID) })},
	{key: "EthernetAddress", get: own(func(vs *Values) string { return vs.id.Ethernet })},
	{key: "FirmwareVersion", get: own(func(vs *Values) string { return vs.id.IBoot })},
	{key: "FusingStatus", get: is(int64(3))},
	{key: "GID1", get: is("ffffffff")},
	{key: "GID2", get: is("ffffffff")},
	{
		key: "HardwareModel", flags: public,
		get: own(func(vs *Values) string { return vs.id.Hardware }),
	},
	{key: "HardwarePlatform", get: own(func(vs *Values) string { return vs.id.Platform })},
	{key: "HasSiDP", flags: public, get: is(true)},
	{key: "HostAttached", get: is(true)},
	{
		key: "HumanReadableProductVersionString", since: 16, flags: public,
		get: own(func(vs *Values) string { return vs.id.Version }),
	},
	{
		key: "IntegratedCircuitCardIdentity",
		get: own(func(vs *Values) string { return vs.id.ICCID }),
	},
	{
		key: "InternationalMobileEquipmentIdentity",
		get: own(func(vs *Values) string { return vs.id.IMEI }),
	},
	{
		key: "InternationalMobileEquipmentIdentity2",
		get: own(func(vs *Values) string { return vs.id.IMEI2 }),
	},
	{
		key: "InternationalMobileSubscriberIdentity",
		get: own(func(vs *Values) string { return vs.id.IMSI }),
	},
	{key: "InternationalMobileSubscriberIdentityOverride", get: is(false)},
	{key: "MLBSerialNumber", get: own(func(vs *Values) string { return vs.id.MLB })},
	{
		key: "MobileEquipmentIdentifier", until: 15,
		get: own(func(vs *Values) string { return vs.id.IMEI[:14] }),
	},
	{
		key: "MobileSubscriberCountryCode",
		get: own(func(vs *Values) string { return vs.id.IMSI[:3] }),
	},
	{
		key: "MobileSubscriberNetworkCode",
		get: own(func(vs *Values) string { return vs.id.IMSI[3:6] }),
	},
	{key: "ModelNumber", get: own(func(vs *Values) string { return vs.id.ModelNumber })},
	{key: "NonVolatileRAM", get: nonVolatileRAM},
	{key: "PRIVersion_Major", get: own(func(vs *Values) int64 { return vs.id.PRI[0] })},
	{key: "PRIVersion_Minor", get: own(func(vs *Values) int64 { return vs.id.PRI[1] })},
	{key: "PRIVersion_ReleaseNo", get: own(func(vs *Values) int64 { return vs.id.PRI[2] })},
	{key: "PairRecordProtectionClass", get: is(int64(4))},
	{key: "PartitionType", flags: public, get: is("GUID_partition_scheme")},
	{key: "PasswordProtected", get: own(func(vs *Values) bool { return vs.o.Locked() })},
	{key: "PhoneNumber", get: own(func(vs *Values) string { return vs.id.PhoneNumber })},
	{key: "PkHash", get: data(48, "pkhash")},
	{key: "ProductName", flags: public, get: is("iPhone OS")},
	{
		key:   "ProductType",
		flags: public,
		get:   own(func(vs *Values) string { return vs.id.ProductType }),
	},
	{
		key:   "ProductVersion",
		flags: public,
		get:   own(func(vs *Values) string { return vs.id.Version }),
	},
	{key: "ProductionSOC", flags: public, get: is(true)},
	{key: "ProtocolVersion", flags: public, get: is("2")},
	{key: "ProximitySensorCalibration", until: 15, get: data(144, "proximity")},
	{key: "RegionInfo", get: is("LL/A")},
	{key: "SBLockdownEverRegisteredKey", until: 15, get: is(false)},
	{key: "SIM1IsEmbedded", get: is(false)},
	{key: "SIM2IsEmbedded", get: is(false)},
	{key: "SIMGID1", get: fill(4, 0xFF)},
	{key: "SIMGID2", get: fill(4, 0xFF)},
	{key: "SIMStatus", get: is("kCTSIMSupportSIMStatusReady")},
	{key: "SIMTrayStatus", get: is("kCTSIMSupportSIMTrayInsertedWithSIM")},
	{key: "SerialNumber", get: own(func(vs *Values) string { return vs.id.Serial })},
	{key: "SoftwareBehavior", get: softwareBehavior},
	{key: "SoftwareBundleVersion", get: is("")},
	{
		key: "SupportedDeviceFamilies", flags: public,
		get: own(func(vs *Values) []any { return vs.id.Families() }),
	},
	{
		key: "TelephonyCapability", flags: public,
		get: own(func(vs *Values) bool { return vs.id.Telephony() }),
	},
	{key: "TimeIntervalSince1970", flags: writable | ownClock, get: secondsNow, set: setClock},
	{
		key: "TimeZone", flags: writable, get: is(defaultZone), set: setTimeZone,
		after: note(notifications.TimeZone),
	},
	{key: "TimeZoneOffsetFromUTC", get: zoneOffset},
	{key: "TrustedHostAttached", get: func(vs *Values) any { return vs.o.TrustsHost() }},
	{
		key: "UniqueChipID", flags: public,
		get: own(func(vs *Values) int64 { return int64(vs.id.ECID) }),
	},
	{key: "UniqueDeviceID", flags: public, get: own(func(vs *Values) string { return vs.id.UDID })},
	{key: "UntrustedHostBUID", flags: public | writable | unpaired, get: is(nil), set: setString},
	{key: "UseRaptorCerts", get: is(true)},
	{key: "Uses24HourClock", flags: writable, get: is(true), set: setBool},
	{key: "WiFiAddress", flags: public, get: own(func(vs *Values) string { return vs.id.WiFi })},
	{key: "WirelessBoardSerialNumber", get: own(func(vs *Values) string { return vs.id.Wireless })},
	{key: "iTunesHasConnected", get: is(true)},
	{key: "kCTPostponementInfoPRIVersion", get: own(priVersion)},
	{key: "kCTPostponementInfoPRLName", get: is(int64(0))},
	{key: "kCTPostponementInfoServiceProvisioningState", get: is(true)},
	{key: "kCTPostponementStatus", get: is("kCTPostponementStatusActivated")},

	{key: "ApNonce", flags: byKey, get: nonce("ap")},
	{key: "ApParameters", flags: byKey, get: apParameters},
	{key: "BasebandFirmwareManifestData", flags: byKey, get: data(256, "bbmanifest")},
	{
		key: "BasebandGoldCertId", flags: byKey,
		get: own(func(vs *Values) int64 { return vs.id.BasebandCert }),
	},
	{key: "CarrierBundleInfo", flags: byKey, get: carrierBundle},
	{
		key: "DeviceEnclosureColor", flags: byKey,
		get: own(func(vs *Values) string { return vs.id.Enclosure }),
	},
	{
		key:   "DevicePublicKey",
		flags: byKey | public,
		get:   own(func(vs *Values) []byte { return vs.o.PublicKeyPEM() }),
	},
	{key: "EffectiveProductionStatusAp", flags: byKey, get: is(int64(1))},
	{key: "EffectiveSecurityModeAp", flags: byKey, get: is(int64(1))},
	{key: "FMiPAccountExists", flags: byKey, get: is(false)},
	{key: "FirmwarePreflightInfo", flags: byKey, get: preflight},
	{key: "HasSEP", flags: byKey, get: is(true)},
	{key: "Image4Supported", flags: byKey, get: is(true)},
	{key: "PreflightInfo", flags: byKey, get: preflight},
	{key: "ProductVersionExtra", flags: byKey, get: is("")},
	{key: "RegionCode", flags: byKey, get: is("LL")},
	{key: "SEPNonce", flags: byKey, get: nonce("sep")},
}

func secondsNow(vs *Values) any {
	// Whole microseconds, as gettimeofday gives them.
	return float64(vs.o.Clock.Now().UnixMicro()) / 1e6
}

func zoneOffset(vs *Values) any {
	_, offset := vs.o.Clock.Now().In(vs.Zone()).Zone()
	return float64(offset)
}

func priVersion(vs *Values) string {
	return fmt.Sprintf("%d.%d.%d", vs.id.PRI[0], vs.id.PRI[1], vs.id.PRI[2])
}

func basebandSerial(vs *Values) any { return append([]byte{}, vs.id.BasebandSerial...) }

// nonce returns a getter for a nonce, which changes with each boot.
func nonce(kind string) func(*Values) any {
	return func(vs *Values) any { return identity.Bytes(32, kind, vs.id.UDID, vs.o.Clock.BootID()) }
}

func softwareBehavior(*Values) any {
	b := make([]byte, 16)
	b[0] = 1
	return b
}
