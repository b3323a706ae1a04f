package bonjour

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// LockdownPort is the port of lockdownd on the network.
	LockdownPort = 62078
	// Mobdev2Port is the port that devices advertise instead, which is LockdownPort
	// with its bytes swapped.
	Mobdev2Port = 32498
)

// supportsRP is at the end of the name of a device with remote pairing. The version of
// the protocol follows, except on early versions of iOS 17.
const supportsRP = "-supportsRP"

// Mobdev2Name returns the instance name of a Mobdev2 service. It consists of the MAC
// address in lower case, the link-local address that is derived from it and, unless it
// is 0, the version of the remote pairing protocol (24 on iOS 18, 26 on 26.4).
func Mobdev2Name(mac string, remotePairing int) (string, error) {
	ip, err := LinkLocal(mac)
	if err != nil {
		return "", err
	}
	hw, _ := net.ParseMAC(mac) // LinkLocal has checked it
	name := hw.String() + "@" + ip.String()
	if remotePairing != 0 {
		name += supportsRP + "-" + strconv.Itoa(remotePairing)
	}
	return name, nil
}

// LinkLocal returns the IPv6 address that is derived from a MAC address by EUI-64, in
// the form of instance names. It cannot be dialled reliably, because a device with a
// private Wi-Fi address may have another one.
func LinkLocal(mac string) (netip.Addr, error) {
	m, err := net.ParseMAC(mac)
	if err != nil || len(m) != 6 {
		return netip.Addr{}, &Error{
			Op: "parse MAC address", Subject: fmt.Sprintf("%q", mac), Err: ErrInvalid,
		}
	}
	return netip.AddrFrom16([16]byte{0: 0xFE, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2],
		11: 0xFF, 12: 0xFE, 13: m[3], 14: m[4], 15: m[5]}), nil
}

// MAC returns the MAC address in a Mobdev2 name, in lower case, or "". With "Private
// Wi-Fi Address" on, it differs from lockdownd's WiFiAddress.
func (i Instance) MAC() string {
	if i.Type != Mobdev2 {
		return ""
	}
	before, _, ok := strings.Cut(i.Name, "@")
	m, err := net.ParseMAC(before)
	if !ok || err != nil || len(m) != 6 {
		return ""
	}
	return m.String()
}

// SupportsRP reports whether a Mobdev2 name states that the device has remote pairing,
// and returns the version of the protocol. The version is 0 if the name has none, as on
// early versions of iOS 17.
func (i Instance) SupportsRP() (version int, ok bool) {
	at := strings.LastIndex(i.Name, supportsRP)
	if i.Type != Mobdev2 || at < 0 {
		return 0, false
	}
	rest := i.Name[at+len(supportsRP):]
	if rest == "" {
		return 0, true
	}
	n, found := strings.CutPrefix(rest, "-")
	v, err := strconv.ParseUint(n, 10, 16)
	if !found || err != nil {
		return 0, false
	}
	return int(v), true
}

// Keys of TXT records.
const (
	TextIdentifier = "identifier"
	TextAuthTag    = "authTag" // followed by authTag#1, authTag#2, ...
)

// AuthTag returns the authTag of a Mobdev2 service, which exists since iOS 26.4. By it
// a host recognizes that the device has a pair record with its HostID. The types of
// remote pairing have other tags; see package remotepair. The result is "" if a FIPS
// policy forbids keys as short as a HostID may be.
func AuthTag(hostID, identifier string) string {
	return base64.StdEncoding.EncodeToString(authTag(hostID, identifier))
}

func authTag(hostID, identifier string) []byte {
	key, err := hkdf.Key(sha512.New, []byte(hostID), nil, "", 32)
	if err != nil {
		return nil
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(identifier))
	return mac.Sum(nil)[:8]
}

// Recognises reports whether one of the authTags of a Mobdev2 service is that of the
// host. It is false for devices before iOS 26.4, which have no tags.
func (i Instance) Recognises(hostID string) bool {
	identifier, ok := i.Text(TextIdentifier)
	if i.Type != Mobdev2 || !ok {
		return false
	}
	want := authTag(hostID, identifier)
	if want == nil {
		return false
	}
	tag := strings.ToLower(TextAuthTag)
	for key, value := range i.TXT {
		if k := strings.ToLower(key); k != tag && !strings.HasPrefix(k, tag+"#") {
			continue
		}
		got, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err == nil && bytes.Equal(got, want) {
			return true
		}
	}
	return false
}
