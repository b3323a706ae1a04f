package phone

import "fmt"

// is makes the getter of a constant. Constants are strings, numbers and
// booleans; data is made anew for each reader.
func is(v any) func(*Phone) any { return func(*Phone) any { return v } }

// own makes the getter of something in the profile or the identity.
func own[T any](get func(*Phone) T) func(*Phone) any {
	return func(p *Phone) any { return get(p) }
}

// data makes the getter of n bytes that belong to the phone and the name.
func data(n int, name string) func(*Phone) any {
	return func(p *Phone) any { return bytesOf(n, name, p.id.udid) }
}

// fill makes the getter of n equal bytes.
func fill(n int, b byte) func(*Phone) any {
	return func(*Phone) any {
		out := make([]byte, n)
		for i := range out {
			out[i] = b
		}
		return out
	}
}

func note(name string) func(*Phone) { return func(p *Phone) { p.Post(name) } }

// defaultDomain is lockdown's domain without a name.
var defaultDomain = []field{
	{key: "ActivationState", get: is("Activated"), after: note(NoteActivation)},
	{key: "ActivationStateAcknowledged", get: is(true)},
	{key: "BasebandActivationTicketVersion", get: is("V2")},
	{
		key: "BasebandCertId", flags: public,
		get: own(func(p *Phone) int64 { return p.prof.basebandCert }),
	},
	{key: "BasebandChipID", get: own(func(p *Phone) int64 { return p.prof.basebandChip })},
	{key: "BasebandKeyHashInformation", flags: public, get: basebandKeyHash},
	{key: "BasebandMasterKeyHash", get: own(
		func(p *Phone) string { return fmt.Sprintf("%X", bytesOf(48, "bbmk", p.prof.name)) },
	)},
	{key: "BasebandRegionSKU", get: fill(64, 0)},
	{key: "BasebandSerialNumber", flags: public, get: basebandSerial},
	{key: "BasebandStatus", get: is("BBInfoAvailable")},
	{
		key: "BasebandVersion", flags: public,
		get: own(func(p *Phone) string { return p.prof.basebandVersion }),
	},
	{key: "BluetoothAddress", get: own(func(p *Phone) string { return p.id.bluetooth })},
	{key: "BoardId", flags: public, get: own(func(p *Phone) int64 { return p.prof.boardID })},
	{key: "BootSessionID", since: 15, get: own((*Phone).BootID)},
	{key: "BrickState", get: is(false)},
	{key: "BuildVersion", flags: public, get: own(func(p *Phone) string { return p.prof.build })},
	{key: "CPUArchitecture", flags: public, get: is("arm64e")},
	{key: "CarrierBundleInfoArray", get: func(p *Phone) any { return []any{carrierBundle(p)} }},
	{key: "CertID", get: own(func(p *Phone) int64 { return p.prof.basebandCert })},
	{key: "ChipID", flags: public, get: own(func(p *Phone) int64 { return int64(p.prof.chipID) })},
	{key: "ChipSerialNo", get: basebandSerial},
	{key: "DeviceClass", flags: public, get: is("iPhone")},
	{key: "DeviceColor", flags: public, get: own(func(p *Phone) string { return p.prof.color })},
	{
		key: "DeviceName", flags: public | writable, get: own((*Phone).Name), set: setName,
		after: note(NoteDeviceName),
	},
	{key: "DieID", flags: public, get: own(func(p *Phone) int64 { return int64(p.id.ecid) })},
	{key: "EthernetAddress", get: own(func(p *Phone) string { return p.id.ethernet })},
	{key: "FirmwareVersion", get: own(func(p *Phone) string { return p.prof.iBoot })},
	{key: "FusingStatus", get: is(int64(3))},
	{key: "GID1", get: is("ffffffff")},
	{key: "GID2", get: is("ffffffff")},
	{
		key: "HardwareModel", flags: public,
		get: own(func(p *Phone) string { return p.prof.hardware }),
	},
	{key: "HardwarePlatform", get: own(func(p *Phone) string { return p.prof.platform })},
	{key: "HasSiDP", flags: public, get: is(true)},
	{key: "HostAttached", get: is(true)},
	{
		key: "HumanReadableProductVersionString", since: 16, flags: public,
		get: own((*Phone).ProductVersion),
	},
	{key: "IntegratedCircuitCardIdentity", get: own(func(p *Phone) string { return p.id.iccid })},
	{
		key: "InternationalMobileEquipmentIdentity",
		get: own(func(p *Phone) string { return p.id.imei }),
	},
	{
		key: "InternationalMobileEquipmentIdentity2",
		get: own(func(p *Phone) string { return p.id.imei2 }),
	},
	{
		key: "InternationalMobileSubscriberIdentity",
		get: own(func(p *Phone) string { return p.id.imsi }),
	},
	{key: "InternationalMobileSubscriberIdentityOverride", get: is(false)},
	{key: "MLBSerialNumber", get: own(func(p *Phone) string { return p.id.mlb })},
	{
		key: "MobileEquipmentIdentifier", until: 15,
		get: own(func(p *Phone) string { return p.id.imei[:14] }),
	},
	{key: "MobileSubscriberCountryCode", get: own(func(p *Phone) string { return p.id.imsi[:3] })},
	{key: "MobileSubscriberNetworkCode", get: own(func(p *Phone) string { return p.id.imsi[3:6] })},
	{key: "ModelNumber", get: own(func(p *Phone) string { return p.prof.modelNumber })},
	{key: "NonVolatileRAM", get: nonVolatileRAM},
	{key: "PRIVersion_Major", get: own(func(p *Phone) int64 { return p.prof.pri[0] })},
	{key: "PRIVersion_Minor", get: own(func(p *Phone) int64 { return p.prof.pri[1] })},
	{key: "PRIVersion_ReleaseNo", get: own(func(p *Phone) int64 { return p.prof.pri[2] })},
	{key: "PairRecordProtectionClass", get: is(int64(4))},
	{key: "PartitionType", flags: public, get: is("GUID_partition_scheme")},
	{key: "PasswordProtected", get: own((*Phone).Locked)},
	{key: "PhoneNumber", get: own(func(p *Phone) string { return p.id.phone })},
	{key: "PkHash", get: data(48, "pkhash")},
	{key: "ProductName", flags: public, get: is("iPhone OS")},
	{key: "ProductType", flags: public, get: own((*Phone).ProductType)},
	{key: "ProductVersion", flags: public, get: own((*Phone).ProductVersion)},
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
	{key: "SerialNumber", get: own(func(p *Phone) string { return p.id.serial })},
	{key: "SoftwareBehavior", get: softwareBehavior},
	{key: "SoftwareBundleVersion", get: is("")},
	{
		key: "SupportedDeviceFamilies", flags: public,
		get: func(*Phone) any { return []any{int64(1)} },
	},
	{key: "TelephonyCapability", flags: public, get: is(true)},
	{key: "TimeIntervalSince1970", flags: writable | ownClock, get: secondsNow, set: setClock},
	{
		key: "TimeZone", flags: writable, get: is(defaultZone), set: setTimeZone,
		after: note(NoteTimeZone),
	},
	{key: "TimeZoneOffsetFromUTC", get: zoneOffset},
	{key: "TrustedHostAttached", get: func(p *Phone) any { return len(p.Hosts()) > 0 }},
	{
		key: "UniqueChipID", flags: public,
		get: own(func(p *Phone) int64 { return int64(p.id.ecid) }),
	},
	{key: "UniqueDeviceID", flags: public, get: own((*Phone).UDID)},
	{key: "UntrustedHostBUID", flags: public | writable | unpaired, get: is(nil), set: setString},
	{key: "UseRaptorCerts", get: is(true)},
	{key: "Uses24HourClock", flags: writable, get: is(true), set: setBool},
	{key: "WiFiAddress", flags: public, get: own(func(p *Phone) string { return p.id.wifi })},
	{key: "WirelessBoardSerialNumber", get: own(func(p *Phone) string { return p.id.wireless })},
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
		get: own(func(p *Phone) int64 { return p.prof.basebandCert }),
	},
	{key: "CarrierBundleInfo", flags: byKey, get: carrierBundle},
	{
		key: "DeviceEnclosureColor", flags: byKey,
		get: own(func(p *Phone) string { return p.prof.enclosure }),
	},
	{key: "DevicePublicKey", flags: byKey | public, get: own((*Phone).PublicKeyPEM)},
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

func secondsNow(p *Phone) any {
	// Whole microseconds, as gettimeofday gives them.
	return float64(p.Now().UnixMicro()) / 1e6
}

func zoneOffset(p *Phone) any {
	_, offset := p.Now().In(p.Location()).Zone()
	return float64(offset)
}

func priVersion(p *Phone) string {
	return fmt.Sprintf("%d.%d.%d", p.prof.pri[0], p.prof.pri[1], p.prof.pri[2])
}

func basebandSerial(p *Phone) any { return append([]byte{}, p.id.basebandSN...) }

// nonce changes with each boot.
func nonce(kind string) func(*Phone) any {
	return func(p *Phone) any { return bytesOf(32, kind, p.id.udid, p.BootID()) }
}

func softwareBehavior(*Phone) any {
	b := make([]byte, 16)
	b[0] = 1
	return b
}
