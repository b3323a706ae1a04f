package remotepair

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/bits"
	"slices"

	"github.com/imdlua/imdlua/runtime/link"
	"golang.org/x/crypto/chacha20poly1305"
)

const keyLen = 32

// derive is HKDF-SHA512. An empty salt means 64 zero bytes.
func derive(secret []byte, salt, info string) []byte {
	key, err := hkdf.Key(sha512.New, secret, []byte(salt), info, keyLen)
	if err != nil {
		panic("remotepair: " + err.Error()) // cannot happen with the lengths in use
	}
	return key
}

func setupKey(k []byte) []byte {
	return derive(k, "Pair-Setup-Encrypt-Salt", "Pair-Setup-Encrypt-Info")
}

func verifyKey(shared []byte) []byte {
	return derive(shared, "Pair-Verify-Encrypt-Salt", "Pair-Verify-Encrypt-Info")
}

// signed5 and signed6 are the info of the keys with which host and device sign in M5
// and M6.
func signed5(k []byte, id string, pub ed25519.PublicKey) []byte {
	x := derive(k, "Pair-Setup-Controller-Sign-Salt", "Pair-Setup-Controller-Sign-Info")
	return slices.Concat(x, []byte(id), pub)
}

func signed6(k []byte, id string, pub ed25519.PublicKey) []byte {
	x := derive(k, "Pair-Setup-Accessory-Sign-Salt", "Pair-Setup-Accessory-Sign-Info")
	return slices.Concat(x, []byte(id), pub)
}

// The nonces of the pairing messages: four zero bytes and eight letters.
const (
	nonceVerify2 = "PV-Msg02"
	nonceVerify3 = "PV-Msg03"
	nonceSetup5  = "PS-Msg05"
	nonceSetup6  = "PS-Msg06"
)

func newAEAD(key []byte) cipher.AEAD {
	a, err := chacha20poly1305.New(key)
	if err != nil {
		panic("remotepair: " + err.Error()) // cannot happen with the key length in use
	}
	return a
}

func letters(s string) []byte { return append(make([]byte, 4, 12), s...) }

func sealPairing(key []byte, nonce string, plain []byte) []byte {
	return newAEAD(key).Seal(nil, letters(nonce), plain, nil)
}

func openPairing(key []byte, nonce string, sealed []byte) ([]byte, error) {
	plain, err := newAEAD(key).Open(nil, letters(nonce), sealed, nil)
	if err != nil {
		return nil, ErrAuthentication
	}
	return plain, nil
}

// channel has the keys of the encrypted channel. A request and its response use the
// same number. The nonce is the number in little endian, followed by four zero bytes.
type channel struct {
	client, server cipher.AEAD
	n              uint64
}

func newChannel(secret []byte) *channel {
	return &channel{
		client: newAEAD(derive(secret, "", "ClientEncrypt-main")),
		server: newAEAD(derive(secret, "", "ServerEncrypt-main")),
	}
}

func (c *channel) nonce() []byte {
	return append(binary.LittleEndian.AppendUint64(make([]byte, 0, 12), c.n), 0, 0, 0, 0)
}

func (c *channel) seal(with cipher.AEAD, plain []byte) []byte {
	return with.Seal(nil, c.nonce(), plain, nil)
}

func (c *channel) open(with cipher.AEAD, sealed []byte) ([]byte, error) {
	plain, err := with.Open(nil, c.nonce(), sealed, nil)
	if err != nil {
		return nil, ErrAuthentication
	}
	return plain, nil
}

// AuthTag returns the authTag of a Bonjour record. It is computed from the record's
// identifier and the altIRK of its sender. A host that has paired recognizes by it a
// device whose identifier changes. The result is "" if the key does not have 16 bytes.
func AuthTag(altIRK []byte, identifier string) string {
	if len(altIRK) != irkLen {
		return ""
	}
	tag := binary.BigEndian.AppendUint64(nil, sipHash(altIRK, []byte(identifier)))
	return base64.StdEncoding.EncodeToString(tag[2:])
}

// sipHash is SipHash-2-4 with a key of 16 bytes.
func sipHash(key, msg []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	block := func(m uint64) {
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	n := len(msg)
	for ; len(msg) >= 8; msg = msg[8:] {
		block(binary.LittleEndian.Uint64(msg))
	}
	last := uint64(n) << 56
	for i, b := range msg {
		last |= uint64(b) << (8 * i)
	}
	block(last)
	v2 ^= 0xFF
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}

// newKey returns a random X25519 key. GenerateKey of crypto/ecdh ignores its source of
// random bytes.
func newKey(r io.Reader) (*ecdh.PrivateKey, error) {
	secret := make([]byte, 32)
	link.Fill(r, secret)
	return ecdh.X25519().NewPrivateKey(secret)
}
