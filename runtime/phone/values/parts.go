package values

import (
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

func basebandKeyHash(*Values) any {
	return plist.Dict{"AKeyStatus": int64(2), "SKeyHash": make([]byte, 32), "SKeyStatus": int64(0)}
}

func carrierBundle(vs *Values) any {
	return plist.Dict{
		"CFBundleIdentifier":                    "com.apple.TMobile_US",
		"CFBundleVersion":                       vs.id.Carrier,
		"GID1":                                  "ffffffff",
		"GID2":                                  "ffffffff",
		"IntegratedCircuitCardIdentity":         vs.id.ICCID,
		"InternationalMobileSubscriberIdentity": vs.id.IMSI,
		"MCC":                                   vs.id.IMSI[:3],
		"MNC":                                   vs.id.IMSI[3:6],
		"SIMGID1":                               []byte{0xFF, 0xFF, 0xFF, 0xFF},
		"SIMGID2":                               []byte{0xFF, 0xFF, 0xFF, 0xFF},
		"Slot":                                  "kOne",
		"kCTPostponementInfoAvailable":          "kCTPostponementInfoServiceProvisioningState",
	}
}

// nonVolatileRAM is the NVRAM as lockdown shows it: data, but boot-args a
// string.
func nonVolatileRAM(vs *Values) any {
	return plist.Dict{
		"auto-boot":                 []byte("true"),
		"backlight-level":           []byte("1600"),
		"boot-args":                 "",
		"bootdelay":                 []byte("0"),
		"fm-account-masked":         []byte{},
		"fm-spstatus":               []byte("NO"),
		"obliteration":              []byte("handle_message: Obliteration Complete"),
		"usbcfwflasherResult":       []byte("No errors"),
		"com.apple.System.tz0-size": []byte("0xC00000"),
		"ota-updateType":            []byte("full"),
	}
}

func apParameters(vs *Values) any {
	return plist.Dict{
		"ApBoardID":        vs.id.BoardID,
		"ApChipID":         int64(vs.id.ChipID),
		"ApECID":           int64(vs.id.ECID),
		"ApNonce":          identity.Bytes(32, "ap", vs.id.UDID, vs.o.Clock.BootID()),
		"ApProductionMode": true,
		"ApSecurityDomain": int64(1),
		"ApSecurityMode":   true,
		"SepNonce":         identity.Bytes(20, "sep", vs.id.UDID, vs.o.Clock.BootID()),
	}
}

func preflight(vs *Values) any {
	return plist.Dict{
		"CertID":              vs.id.BasebandCert,
		"ChipID":              vs.id.BasebandChip,
		"ChipSerialNo":        append([]byte{}, vs.id.BasebandSerial...),
		"FusingStatus":        int64(3),
		"Nonce":               identity.Bytes(20, "bbnonce", vs.id.UDID, vs.o.Clock.BootID()),
		"VendorID":            int64(1),
		"EUICCChipID":         int64(7),
		"EUICCCertIdentifier": identity.Bytes(20, "euicc", vs.id.UDID),
	}
}
