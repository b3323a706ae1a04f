// Package identity has the properties of a phone that never change: its profile, which is
// its model and iOS version, and the identifiers that no other phone has.
package identity

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// Identity holds the profile of a phone and the identifiers that distinguish it
// from other phones of the profile. Each number is a bijection of the serial, so
// that no two phones of a profile have the same one.
type Identity struct {
	*Profile
	Number         uint64 // the serial that New was given
	Seed           uint64 // for everything else that differs between phones
	ECID           uint64
	UDID           string
	Serial         string
	MLB            string
	Wireless       string
	MAC            uint64
	WiFi           string
	Bluetooth      string
	Ethernet       string
	IMEI           string
	IMEI2          string
	ICCID          string
	IMSI           string
	PhoneNumber    string
	BasebandSerial []byte
}

// serialAlphabet holds the characters of Apple's random serial numbers.
const serialAlphabet = "0123456789CDFGHJKLMNPQRTVWXY"

// New returns the identity of a phone. The profile is one of Profiles, and ""
// means ios17. The serial must not be negative; different serials give different
// identifiers.
func New(profile string, serial int) (*Identity, error) {
	if profile == "" {
		profile = "ios17"
	}
	prof := profileNamed(profile)
	if prof == nil {
		return nil, &failure.Error{
			Op: "new", Subject: profile,
			Err: fmt.Errorf("unknown profile, there are %v", Profiles()),
		}
	}
	if serial < 0 {
		return nil, &failure.Error{
			Op: "new", Subject: profile, Err: fmt.Errorf("serial %d: %w", serial, fs.ErrInvalid),
		}
	}
	return newIdentity(prof, serial), nil
}

func newIdentity(prof *Profile, serial int) *Identity {
	n := uint64(serial)
	id := &Identity{
		Profile: prof, Number: n, Seed: files.Mix(uint64(prof.ChipID)<<32 ^ n),
	}
	// The ECID is below 2^53, so that hosts can hold it in a double without loss.
	id.ECID = scatter(n, prof.Salt, 1<<52)
	id.UDID = fmt.Sprintf("%08X-%016X", prof.ChipID, id.ECID)
	id.Serial = SerialText(scatter(n, prof.Salt+1, 1<<48), 10)
	id.MLB = "F3X" + SerialText(scatter(n, prof.Salt+2, 1<<48), 14)
	id.Wireless = "C0F" + SerialText(scatter(n, prof.Salt+3, 1<<48), 14)
	mac := scatter(n, prof.Salt+4, 1<<21)<<3 | uint64(prof.MACBank)<<24
	id.MAC = mac
	id.WiFi, id.Bluetooth, id.Ethernet = macText(mac), macText(mac+1), macText(mac+2)
	six := scatter(n, prof.Salt+5, 1_000_000)
	id.IMEI = luhn(fmt.Sprintf("%s%06d", prof.TAC, six))
	id.IMEI2 = luhn(fmt.Sprintf("%s%06d", prof.TAC2, six))
	nine := scatter(n, prof.Salt+6, 1_000_000_000)
	id.ICCID = luhn(fmt.Sprintf("890126%012d", nine))
	id.IMSI = fmt.Sprintf("310260%09d", nine)
	id.PhoneNumber = fmt.Sprintf("+1 (555) 01%d-%04d", n/10000%10, n%10000)
	id.BasebandSerial = binary.BigEndian.AppendUint32(nil, uint32(scatter(n, prof.Salt+7, 1<<32)))
	return id
}

// scatter maps 0..m-1 one to one onto itself, so that the results of consecutive
// numbers look unrelated. The factor is coprime to 2 and 5, and so to every m that
// is used here.
func scatter(n, salt, m uint64) uint64 {
	const factor = 2862933555777941757
	// Multiply in steps below 2^64: m is at most 2^52.
	x := n % m
	var out uint64
	for f := factor % m; f > 0; f >>= 1 {
		if f&1 == 1 {
			out = (out + x) % m
		}
		x = x * 2 % m
	}
	return (out + files.Mix(salt)%m) % m
}

// SerialText writes v with n digits of the alphabet of serial numbers.
func SerialText(v uint64, n int) string {
	b := make([]byte, n)
	base := uint64(len(serialAlphabet))
	for i := n - 1; i >= 0; i-- {
		b[i] = serialAlphabet[v%base]
		v /= base
	}
	return string(b)
}

// luhn appends the check digit.
func luhn(digits string) string {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			d *= 2
			if d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return digits + string(rune('0'+(10-sum%10)%10))
}

func macText(v uint64) string {
	b := binary.BigEndian.AppendUint64(nil, v)[2:]
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// Hash is a 64 bit FNV-1a hash of the parts.
func Hash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range parts {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xFF) * 1099511628211
	}
	return h
}

// UUID computes a UUID from a name. The same name always has the same UUID.
func UUID(parts ...string) (u [16]byte) {
	h := Hash(parts...)
	binary.BigEndian.PutUint64(u[:], files.Mix(h))
	binary.BigEndian.PutUint64(u[8:], files.Mix(h^0x5555555555555555))
	u[6] = u[6]&0x0F | 0x40
	u[8] = u[8]&0x3F | 0x80
	return u
}

// UUIDText writes a UUID in upper case.
func UUIDText(u [16]byte) string {
	s := strings.ToUpper(hex.EncodeToString(u[:]))
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// LowerUUID writes a UUID in lower case.
func LowerUUID(u [16]byte) string { return strings.ToLower(UUIDText(u)) }

// Bytes computes n bytes from a name, for keys, hashes and calibration data.
func Bytes(n int, parts ...string) []byte {
	b := make([]byte, n)
	files.FillNoise(b, Hash(parts...))
	return b
}
