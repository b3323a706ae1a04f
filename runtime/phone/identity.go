package phone

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// identity is everything that tells one phone from another of its profile.
// Each number runs through a bijection of the serial, so that no two phones
// of a profile ever share one.
type identity struct {
	n          uint64
	seed       uint64
	ecid       uint64
	udid       string
	serial     string
	mlb        string
	wireless   string
	mac        uint64
	wifi       string
	bluetooth  string
	ethernet   string
	imei       string
	imei2      string
	iccid      string
	imsi       string
	phone      string
	basebandSN []byte
}

// serialAlphabet is what Apple's random serial numbers are made of.
const serialAlphabet = "0123456789CDFGHJKLMNPQRTVWXY"

func newIdentity(prof *profile, serial int) identity {
	n := uint64(serial)
	id := identity{n: n, seed: files.Mix(uint64(prof.chipID)<<32 ^ n)}
	// Below 2^53, so that clients that compute in doubles keep it whole.
	id.ecid = scatter(n, prof.salt, 1<<52)
	id.udid = fmt.Sprintf("%08X-%016X", prof.chipID, id.ecid)
	id.serial = encode(scatter(n, prof.salt+1, 1<<48), serialAlphabet, 10)
	id.mlb = "F3X" + encode(scatter(n, prof.salt+2, 1<<48), serialAlphabet, 14)
	id.wireless = "C0F" + encode(scatter(n, prof.salt+3, 1<<48), serialAlphabet, 14)
	mac := scatter(n, prof.salt+4, 1<<21)<<3 | uint64(prof.macBank)<<24
	id.mac = mac
	id.wifi, id.bluetooth, id.ethernet = macText(mac), macText(mac+1), macText(mac+2)
	six := scatter(n, prof.salt+5, 1_000_000)
	id.imei = luhn(fmt.Sprintf("%s%06d", prof.tac, six))
	id.imei2 = luhn(fmt.Sprintf("%s%06d", prof.tac2, six))
	nine := scatter(n, prof.salt+6, 1_000_000_000)
	id.iccid = luhn(fmt.Sprintf("890126%012d", nine))
	id.imsi = fmt.Sprintf("310260%09d", nine)
	id.phone = fmt.Sprintf("+1 (555) 01%d-%04d", n/10000%10, n%10000)
	id.basebandSN = binary.BigEndian.AppendUint32(nil, uint32(scatter(n, prof.salt+7, 1<<32)))
	return id
}

// scatter maps 0..m-1 one to one onto itself so that neighbours look
// unrelated. The factor is prime to 2 and 5 and so to every m used here.
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

// encode writes v with n digits of the alphabet.
func encode(v uint64, alphabet string, n int) string {
	b := make([]byte, n)
	base := uint64(len(alphabet))
	for i := n - 1; i >= 0; i-- {
		b[i] = alphabet[v%base]
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
			if d *= 2; d > 9 {
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

// hashOf is a 64 bit FNV-1a hash of the parts.
func hashOf(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range parts {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xFF) * 1099511628211
	}
	return h
}

// uuidOf makes the UUID of a name; the same name has the same one always.
func uuidOf(parts ...string) (u [16]byte) {
	h := hashOf(parts...)
	binary.BigEndian.PutUint64(u[:], files.Mix(h))
	binary.BigEndian.PutUint64(u[8:], files.Mix(h^0x5555555555555555))
	u[6] = u[6]&0x0F | 0x40
	u[8] = u[8]&0x3F | 0x80
	return u
}

// uuidText writes a UUID in upper case.
func uuidText(u [16]byte) string {
	s := strings.ToUpper(hex.EncodeToString(u[:]))
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// lowerUUID writes a UUID in lower case.
func lowerUUID(u [16]byte) string { return strings.ToLower(uuidText(u)) }

// bytesOf makes n bytes of a name, for keys, hashes and calibration data.
func bytesOf(n int, parts ...string) []byte {
	b := make([]byte, n)
	files.FillNoise(b, hashOf(parts...))
	return b
}
