package remotepair

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// Record is what a host keeps of a pairing: with which keys it did it, and whom
// with. The first fields are those of pymobiledevice3's records, so the two can
// share them; Peer fields that are empty were not in the file. Printing a
// Record, with whatever verb or logger, shows no keys.
type Record struct {
	HostIdentifier string
	HostPrivateKey ed25519.PrivateKey
	HostAltIRK     []byte
	// RemoteUnlockHostKey is the device's text as sent; it serves as the
	// escrow bag of a locked device.
	RemoteUnlockHostKey string

	PeerUDID, PeerModel, PeerName string
	PeerAltIRK                    []byte

	// PeerIdentifier and PeerPublicKey are what the device signs with. Other
	// programs do not keep them; with them Verify makes sure that it is the
	// same device.
	PeerIdentifier string
	PeerPublicKey  ed25519.PublicKey

	// Extra holds the keys that this structure does not name.
	Extra plist.Dict
}

type recordField struct {
	key  string
	text *string
	blob *[]byte
	size int
}

const (
	keyPublic  = "public_key" // the host's own
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

// MaxRecord is the largest record or identity that is read.
const MaxRecord = 1 << 20

var (
	errPrivateKey = errors.New("no usable " + keyPrivate)
	errTooLarge   = errors.New("file is too large")
)

// ParseRecord reads a record, XML or binary. HostIdentifier is empty when the
// record does not state it: see HostIdentifier.
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
	// Some programs append the public key.
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
		} else if *f.blob, ok = v.([]byte); ok && len(*f.blob) != f.size {
			if ok = len(*f.blob) == 0; ok {
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

// Identity returns with whose keys the pairing was made. hostName is for
// records that do not state an identifier.
func (r *Record) Identity(hostName string) *Identity {
	id := &Identity{
		Identifier: r.HostIdentifier, PrivateKey: r.HostPrivateKey, AltIRK: r.HostAltIRK,
	}
	if id.Identifier == "" {
		id.Identifier = HostIdentifier(hostName)
	}
	if len(id.AltIRK) != irkLen {
		id.AltIRK = make([]byte, irkLen) // needed for pairing anew only
	}
	return id
}

// Matches reports whether a Bonjour record with that identifier and authTag is
// this device's. Without its altIRK nobody can tell: known is false.
func (r *Record) Matches(identifier, authTag string) (same, known bool) {
	if len(r.PeerAltIRK) != irkLen {
		return false, false
	}
	return AuthTag(r.PeerAltIRK, identifier) == authTag, true
}

// String names the record.
func (r Record) String() string {
	return fmt.Sprintf("remote pairing record (device %s, host %s)", r.PeerUDID, r.HostIdentifier)
}

// Format prints String for every verb, so that no format shows the keys.
func (r Record) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, r.String()) }

// LogValue shows the record's names in a log.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(slog.String("udid", r.PeerUDID), slog.String("host", r.HostIdentifier))
}

// MarshalJSON writes the record's names alone.
func (r Record) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"PeerUDID":%q,"HostIdentifier":%q}`, r.PeerUDID,
		r.HostIdentifier), nil
}
