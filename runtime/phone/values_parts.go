package phone

import (
	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func basebandKeyHash(*Phone) any {
	return plist.Dict{"AKeyStatus": int64(2), "SKeyHash": make([]byte, 32), "SKeyStatus": int64(0)}
}

func carrierBundle(p *Phone) any {
	return plist.Dict{
		"CFBundleIdentifier":                    "com.apple.TMobile_US",
		"CFBundleVersion":                       p.prof.carrier,
		"GID1":                                  "ffffffff",
		"GID2":                                  "ffffffff",
		"IntegratedCircuitCardIdentity":         p.id.iccid,
		"InternationalMobileSubscriberIdentity": p.id.imsi,
		"MCC":                                   p.id.imsi[:3],
		"MNC":                                   p.id.imsi[3:6],
		"SIMGID1":                               []byte{0xFF, 0xFF, 0xFF, 0xFF},
		"SIMGID2":                               []byte{0xFF, 0xFF, 0xFF, 0xFF},
		"Slot":                                  "kOne",
		"kCTPostponementInfoAvailable":          "kCTPostponementInfoServiceProvisioningState",
	}
}

// nonVolatileRAM is the NVRAM as lockdown shows it: data, but boot-args a
// string.
func nonVolatileRAM(p *Phone) any {
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

func apParameters(p *Phone) any {
	return plist.Dict{
		"ApBoardID":        p.prof.boardID,
		"ApChipID":         int64(p.prof.chipID),
		"ApECID":           int64(p.id.ecid),
		"ApNonce":          bytesOf(32, "ap", p.id.udid, p.BootID()),
		"ApProductionMode": true,
		"ApSecurityDomain": int64(1),
		"ApSecurityMode":   true,
		"SepNonce":         bytesOf(20, "sep", p.id.udid, p.BootID()),
	}
}

func preflight(p *Phone) any {
	return plist.Dict{
		"CertID":              p.prof.basebandCert,
		"ChipID":              p.prof.basebandChip,
		"ChipSerialNo":        append([]byte{}, p.id.basebandSN...),
		"FusingStatus":        int64(3),
		"Nonce":               bytesOf(20, "bbnonce", p.id.udid, p.BootID()),
		"VendorID":            int64(1),
		"EUICCChipID":         int64(7),
		"EUICCCertIdentifier": bytesOf(20, "euicc", p.id.udid),
	}
}
