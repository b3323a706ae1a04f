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
	// LockdownPort is where lockdownd listens on the network.
	LockdownPort = 62078
	// Mobdev2Port is what devices advertise instead: the same number with its
	// bytes swapped.
	Mobdev2Port = 32498
)

// supportsRP ends the name of a device that does remote pairing; the version of
// its protocol follows, except in early iOS 17.
const supportsRP = "-supportsRP"

// Mobdev2Name is the instance name of a Mobdev2 service: the MAC address in
// lower case, the link-local address that follows from it and, unless it is 0,
// the version of the remote pairing protocol (24 on iOS 18, 26 on 26.4).
func Mobdev2Name(mac string, remotePairing int) (string, error) {
	ip, err := LinkLocal(mac)
	if err != nil {
		return "", err
	}
	hw, _ := net.ParseMAC(mac) // LinkLocal has parsed it
	name := hw.String() + "@" + ip.String()
	if remotePairing != 0 {
		name += supportsRP + "-" + strconv.Itoa(remotePairing)
	}
	return name, nil
}

// LinkLocal is the IPv6 address that follows from a MAC address by EUI-64, as
// it stands in instance names. Devices with a private Wi-Fi address may have
// another one: it is not for dialling.
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

// MAC is the MAC address in a Mobdev2 name, in lower case, or empty. With
// "Private Wi-Fi Address" on it differs from what lockdownd calls WiFiAddress.
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

// SupportsRP reports whether a Mobdev2 name says that the device does remote
// pairing, and the version of the protocol: 0 when the name has none, as in
// early iOS 17.
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
	TextAuthTag    = "authTag" // then authTag#1, authTag#2, ...
)

// AuthTag is the authTag of a Mobdev2 service since iOS 26.4: by it a host
// knows that the device has a pair record of its HostID. The tags of the remote
// pairing types are made otherwise, see package remotepair. It is empty where
// a FIPS policy forbids keys as short as HostIDs can be.
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

// Recognises reports whether one of the authTags of a Mobdev2 service is for the
// host. Devices before iOS 26.4 have none: then it is false for every host.
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
