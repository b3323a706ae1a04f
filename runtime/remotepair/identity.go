package remotepair

import (
	"crypto/ed25519"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/opack"
	"github.com/imdlua/imdlua/runtime/link"
)

const (
	irkLen = 16
	// maxText bounds names and identifiers that a peer sends.
	maxText = 1024
	// maxInfo bounds the entries of a peer's Info.
	maxInfo = 64
)

// Identity identifies a host to devices. It has the name with which the host signs, and
// its keys. No format verb prints the keys.
type Identity struct {
	Identifier string
	PrivateKey ed25519.PrivateKey
	// AltIRK is the key of 16 bytes by which devices recognize this host's Bonjour
	// records.
	AltIRK []byte
}

// HostIdentifier returns the identifier that pymobiledevice3 gives to a host of that
// name: a version 3 UUID in the name space of DNS, in upper case. It is the identifier
// of that program's records that do not state one.
func HostIdentifier(hostName string) string {
	dns := []byte{
		0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30,
		0xc8,
	}
	u := md5.Sum(append(dns, hostName...)) // the definition of version 3
	return formatUUID(u, 3)
}

func formatUUID(u [16]byte, version byte) string {
	u[6] = u[6]&0x0F | version<<4
	u[8] = u[8]&0x3F | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// NewIdentity returns the identity of a host with new keys. rand is the source of
// random bytes; nil means crypto/rand.
func NewIdentity(hostName string, r io.Reader) *Identity {
	seed, irk := make([]byte, ed25519.SeedSize), make([]byte, irkLen)
	link.Fill(r, seed)
	link.Fill(r, irk)
	return &Identity{
		Identifier: HostIdentifier(hostName), PrivateKey: ed25519.NewKeyFromSeed(seed), AltIRK: irk,
	}
}

func (i *Identity) public() ed25519.PublicKey { return i.PrivateKey.Public().(ed25519.PublicKey) }

var errIdentity = errors.New("identity has no identifier, key or altIRK")

func (i *Identity) check() error {
	if i == nil || i.Identifier == "" || len(i.Identifier) > maxText ||
		len(i.PrivateKey) != ed25519.PrivateKeySize || len(i.AltIRK) != irkLen {
		return errIdentity
	}
	return nil
}

// String identifies the host without its keys.
func (i Identity) String() string {
	return fmt.Sprintf("remote pairing identity (%s)", i.Identifier)
}

// Format prints String for every verb, so that no verb prints the keys.
func (i Identity) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, i.String()) }

// LogValue returns the identifier.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.Identifier) }

// MarshalJSON encodes only the identifier.
func (i Identity) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"Identifier":%q}`, i.Identifier), nil
}

// peerInfo is what one side sends about itself in M5 and M6, encoded as OPACK.
type peerInfo struct {
	altIRK       []byte
	accountID    string // the same as the identifier
	model, name  string
	udid, serial string // hosts have no UDID
	bluetooth    string
	mac          []byte
}

// hostInfo returns the info that hosts send. Values that this host does not have are
// the same as those of other hosts.
func hostInfo(id *Identity, name string) peerInfo {
	return peerInfo{altIRK: id.AltIRK, accountID: id.Identifier, model: "computer-model",
		name: name, serial: "AAAAAAAAAAAA",
		bluetooth: "11:22:33:44:55:66", mac: []byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66}}
}

func (p peerInfo) encode() ([]byte, error) {
	d := opack.Dict{
		{Key: "altIRK", Value: p.altIRK},
		{Key: "btAddr", Value: p.bluetooth},
		{Key: "mac", Value: p.mac},
		{Key: "remotepairing_serial_number", Value: p.serial},
		{Key: "accountID", Value: p.accountID},
		{Key: "model", Value: p.model},
		{Key: "name", Value: p.name},
	}
	if p.udid != "" {
		d = append(d, opack.Pair{Key: "remotepairing_udid", Value: p.udid})
	}
	return opack.Append(nil, d)
}

// parseInfo decodes the known keys and ignores the others, because devices add keys.
func parseInfo(b []byte) (peerInfo, error) {
	d, err := opack.DecodeDict(b)
	if err != nil {
		return peerInfo{}, err
	}
	if len(d) > maxInfo {
		return peerInfo{}, errors.New("info has too many entries")
	}
	var p peerInfo
	for key, dst := range map[string]*string{"accountID": &p.accountID, "model": &p.model,
		"name":               &p.name,
		"remotepairing_udid": &p.udid, "remotepairing_serial_number": &p.serial,
		"btAddr": &p.bluetooth} {
		s, _ := d.String(key)
		if len(s) <= maxText {
			*dst = s
		}
	}
	if irk, ok := d.Data("altIRK"); ok && len(irk) == irkLen {
		p.altIRK = slices.Clone(irk)
	}
	return p, nil
}
