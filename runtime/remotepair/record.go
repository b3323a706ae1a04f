package remotepair

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// Record is a host's record of a pairing. It has the keys of the host and those of the
// device. Its first fields are those of pymobiledevice3's records, so that both
// programs can use the same files. A Peer field that is not in the file is empty. No
// format verb and no logger prints the keys.
type Record struct {
	HostIdentifier string
	HostPrivateKey ed25519.PrivateKey
	HostAltIRK     []byte
	// RemoteUnlockHostKey is the device's text as sent. It is used as the escrow bag of
	// a locked device.
	RemoteUnlockHostKey string

	PeerUDID, PeerModel, PeerName string
	PeerAltIRK                    []byte

	// PeerIdentifier and PeerPublicKey are those with which the device signs. Other
	// programs do not store them. With them Verify checks that the device is the same.
	PeerIdentifier string
	PeerPublicKey  ed25519.PublicKey

	// Extra holds the keys that have no field here.
	Extra plist.Dict
}

type recordField struct {
	key  string
	text *string
	blob *[]byte
	size int
}

const (
	keyPublic  = "public_key" // the host's public key
	keyPrivate = "private_key"
)

func (r *Record) fields() []recordField {
	return []recordField{
		{key: "host_identifier", text: &r.HostIdentifier},
		{key: "host_alt_irk", blob: &r.HostAltIRK, size: irkLen},
		{key: "remote_unlock_host_key", text: &r.RemoteUnlockHostKey},
		{key: "peer_udid", text: &r.PeerUDID},
		{key: "peer_model", text: &r.PeerModel},
		{key: "peer_name", text: &r.PeerName},
		{key: "peer_alt_irk", blob: &r.PeerAltIRK, size: irkLen},
		{key: "peer_identifier", text: &r.PeerIdentifier},
		{key: "peer_public_key", blob: (*[]byte)(&r.PeerPublicKey), size: ed25519.PublicKeySize},
	}
}

// MaxRecord is the size of the largest record or identity that is read.
const MaxRecord = 1 << 20

var (
	errPrivateKey = errors.New("no usable " + keyPrivate)
	errTooLarge   = errors.New("file is too large")
)

// ParseRecord parses a record, which may be an XML or a binary property list.
// HostIdentifier is "" if the record does not state it; see the function
// HostIdentifier.
func ParseRecord(b []byte) (*Record, error) {
	fail := func(err error) (*Record, error) {
		return nil, &Error{Op: "parse", Subject: "record", Err: err}
	}
	if len(b) > MaxRecord {
		return fail(errTooLarge)
	}
	d, err := plist.DecodeDict(b)
	if err != nil {
		return fail(err)
	}
	r := &Record{}
	seed, _ := d.Data(keyPrivate)
	// A program may append the public key.
	if len(seed) != ed25519.SeedSize && len(seed) != ed25519.PrivateKeySize {
		return fail(errPrivateKey)
	}
	r.HostPrivateKey = ed25519.NewKeyFromSeed(seed[:ed25519.SeedSize])
	delete(d, keyPrivate)
	delete(d, keyPublic)
	for _, f := range r.fields() {
		v, ok := d[f.key]
		if !ok {
			continue
		}
		if f.text != nil {
			*f.text, ok = v.(string)
		} else {
			*f.blob, ok = v.([]byte)
			ok = ok && (len(*f.blob) == f.size || len(*f.blob) == 0)
			if len(*f.blob) == 0 {
				*f.blob = nil
			}
		}
		if !ok {
			return fail(fmt.Errorf("%s is not usable", f.key))
		}
		delete(d, f.key)
	}
	if len(d) > 0 {
		r.Extra = d
	}
	return r, nil
}

// Encode writes the record as XML.
func (r *Record) Encode() ([]byte, error) {
	if len(r.HostPrivateKey) != ed25519.PrivateKeySize {
		return nil, &Error{Op: "encode", Subject: "record", Err: errPrivateKey}
	}
	d := r.Extra.Clone()
	if d == nil {
		d = plist.Dict{}
	}
	d[keyPrivate] = []byte(r.HostPrivateKey.Seed())
	d[keyPublic] = []byte(r.HostPrivateKey.Public().(ed25519.PublicKey))
	for _, f := range r.fields() {
		switch {
		case f.text != nil && *f.text != "":
			d[f.key] = *f.text
		case f.blob != nil && len(*f.blob) > 0:
			d[f.key] = *f.blob
		}
	}
	b, err := plist.Encode(d, plist.XML)
	if err != nil {
		return nil, &Error{Op: "encode", Subject: "record", Err: err}
	}
	return b, nil
}

// Identity returns the identity with which the pairing was made. hostName is used for
// records that do not state an identifier.
func (r *Record) Identity(hostName string) *Identity {
	id := &Identity{
		Identifier: r.HostIdentifier, PrivateKey: r.HostPrivateKey, AltIRK: r.HostAltIRK,
	}
	if id.Identifier == "" {
		id.Identifier = HostIdentifier(hostName)
	}
	if len(id.AltIRK) != irkLen {
		id.AltIRK = make([]byte, irkLen) // required to pair again
	}
	return id
}

// Matches reports whether a Bonjour record with that identifier and authTag belongs to
// this device. known is false if the record has no altIRK, without which this cannot be
// decided.
func (r *Record) Matches(identifier, authTag string) (same, known bool) {
	if len(r.PeerAltIRK) != irkLen {
		return false, false
	}
	return AuthTag(r.PeerAltIRK, identifier) == authTag, true
}

// String identifies the record without its keys.
func (r Record) String() string {
	return fmt.Sprintf("remote pairing record (device %s, host %s)", r.PeerUDID, r.HostIdentifier)
}

// Format prints String for every verb, so that no verb prints the keys.
func (r Record) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, r.String()) }

// LogValue returns the identifiers of the record.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(slog.String("udid", r.PeerUDID), slog.String("host", r.HostIdentifier))
}

// MarshalJSON encodes only the identifiers of the record.
func (r Record) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"PeerUDID":%q,"HostIdentifier":%q}`, r.PeerUDID,
		r.HostIdentifier), nil
}
