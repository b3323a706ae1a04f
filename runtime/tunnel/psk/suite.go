package psk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/imdlua/imdlua/runtime/link"
)

// Suite is the number of a cipher suite.
type Suite uint16

// The suites.
const (
	AES256GCMSHA384 Suite = 0x00A9
	AES256CBCSHA384 Suite = 0x00AF
	AES128CBCSHA    Suite = 0x008C
)

// String returns the name of the RFCs.
func (s Suite) String() string {
	switch s {
	case AES256GCMSHA384:
		return "TLS_PSK_WITH_AES_256_GCM_SHA384"
	case AES256CBCSHA384:
		return "TLS_PSK_WITH_AES_256_CBC_SHA384"
	case AES128CBCSHA:
		return "TLS_PSK_WITH_AES_128_CBC_SHA"
	}
	return fmt.Sprintf("suite %04x", uint16(s))
}

// suite has the parts of a Suite.
type suite struct {
	id      Suite
	prf     func() hash.Hash // for the PRF and the transcript
	mac     func() hash.Hash // nil for GCM
	macLen  int
	keyLen  int
	fixedIV int // bytes of IV in the key block
}

var suites = []*suite{
	{id: AES256GCMSHA384, prf: sha512.New384, keyLen: 32, fixedIV: 4},
	{
		id: AES256CBCSHA384, prf: sha512.New384, mac: sha512.New384, macLen: sha512.Size384,
		keyLen: 32,
	},
	{id: AES128CBCSHA, prf: sha256.New, mac: sha1.New, macLen: sha1.Size, keyLen: 16},
}

func suiteByID(id Suite) *suite {
	for _, s := range suites {
		if s.id == id {
			return s
		}
	}
	return nil
}

// prf is the TLS 1.2 PRF: P_hash of RFC 5246 section 5.
func prf(h func() hash.Hash, secret []byte, label string, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	seed = append([]byte(label), seed...)
	var out, a []byte
	a = seed
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(nil)
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		out = mac.Sum(out)
	}
	return out[:n]
}

const (
	masterLen   = 48
	randomLen   = 32
	finishedLen = 12
)

// masterSecret returns the master secret of RFC 4279. The other secret in the premaster
// secret is zeros of the length of the key.
func (s *suite) masterSecret(key, clientRandom, serverRandom []byte) []byte {
	n := len(key)
	pre := make([]byte, 2+n, 4+2*n)
	binary.BigEndian.PutUint16(pre, uint16(n))
	pre = binary.BigEndian.AppendUint16(pre, uint16(n))
	pre = append(pre, key...)
	return prf(s.prf, pre, "master secret",
		append(append([]byte(nil), clientRandom...), serverRandom...), masterLen)
}

// keyBlock returns the bytes of which the connection keys consist.
func (s *suite) keyBlock(master, clientRandom, serverRandom []byte) []byte {
	n := 2 * (s.macLen + s.keyLen + s.fixedIV)
	return prf(s.prf, master, "key expansion",
		append(append([]byte(nil), serverRandom...), clientRandom...), n)
}

// finished returns the verify data of a Finished message.
func (s *suite) finished(master []byte, label string, transcript []byte) []byte {
	h := s.prf()
	h.Write(transcript)
	return prf(s.prf, master, label, h.Sum(nil), finishedLen)
}

// sealer protects the fragment of a record and appends it.
type sealer interface {
	seal(b []byte, seq uint64, typ byte, p []byte) []byte
}

// opener removes the protection in place.
type opener interface {
	open(seq uint64, typ byte, fragment []byte) ([]byte, error)
}

type protector interface {
	sealer
	opener
}

// protectors returns the states of client and server, made of the key block.
func (s *suite) protectors(block []byte, rand io.Reader) (client, server protector, err error) {
	cut := func(n int) []byte {
		b := block[:n:n]
		block = block[n:]
		return b
	}
	cm, sm := cut(s.macLen), cut(s.macLen)
	ck, sk := cut(s.keyLen), cut(s.keyLen)
	ci, si := cut(s.fixedIV), cut(s.fixedIV)
	client, err = s.protector(cm, ck, ci, rand)
	if err == nil {
		server, err = s.protector(sm, sk, si, rand)
	}
	return client, server, err
}

func (s *suite) protector(mac, key, iv []byte, rand io.Reader) (protector, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if s.mac != nil {
		return &cbc{
			block: block, mac: hmac.New(s.mac, mac), macLen: s.macLen,
			hashBlock: s.mac().BlockSize(), rand: rand,
		}, nil
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	g := &gcm{aead: aead}
	copy(g.nonce[:], iv)
	return g, nil
}

var errMAC = &violation{AlertBadRecordMAC, errors.New("record does not authenticate")}

// pseudoHeader returns what a record's MAC covers before the data: number u64, type u8,
// version u16, length u16.
func pseudoHeader(b []byte, seq uint64, typ byte, n int) []byte {
	b = binary.BigEndian.AppendUint64(b, seq)
	return append(b, typ, version>>8, version&0xFF, byte(n>>8), byte(n))
}

// gcm is: explicit nonce u64 | ciphertext | tag. The nonce consists of four bytes of
// the key block and the explicit part, which is the record's number.
type gcm struct {
	aead  cipher.AEAD
	nonce [12]byte
	aad   [13]byte
}

const explicitNonce = 8

func (g *gcm) seal(b []byte, seq uint64, typ byte, p []byte) []byte {
	binary.BigEndian.PutUint64(g.nonce[4:], seq)
	b = binary.BigEndian.AppendUint64(b, seq)
	return g.aead.Seal(b, g.nonce[:], p, pseudoHeader(g.aad[:0], seq, typ, len(p)))
}

func (g *gcm) open(seq uint64, typ byte, f []byte) ([]byte, error) {
	n := len(f) - explicitNonce - g.aead.Overhead()
	if n < 0 {
		return nil, errMAC
	}
	copy(g.nonce[4:], f)
	body := f[explicitNonce:]
	out, err := g.aead.Open(body[:0], g.nonce[:], body, pseudoHeader(g.aad[:0], seq, typ, n))
	if err != nil {
		return nil, errMAC
	}
	return out, nil
}

// cbc is: IV | AES-CBC(data | MAC | padding). The MAC is computed before the
// encryption.
type cbc struct {
	block     cipher.Block
	mac       hash.Hash
	macLen    int
	hashBlock int
	rand      io.Reader // source of initialization vectors
	head      [13]byte
	sum       [64]byte
}

func (c *cbc) seal(b []byte, seq uint64, typ byte, p []byte) []byte {
	start := len(b)
	var iv [aes.BlockSize]byte
	link.Fill(c.rand, iv[:])
	b = append(append(b, iv[:]...), p...)
	c.mac.Reset()
	c.mac.Write(pseudoHeader(c.head[:0], seq, typ, len(p)))
	c.mac.Write(p)
	b = c.mac.Sum(b)
	pad := aes.BlockSize - (len(b)-start)%aes.BlockSize
	for range pad {
		b = append(b, byte(pad-1))
	}
	text := b[start+aes.BlockSize:]
	cipher.NewCBCEncrypter(c.block, iv[:]).CryptBlocks(text, text)
	return b
}

func (c *cbc) open(seq uint64, typ byte, f []byte) ([]byte, error) {
	least := (c.macLen +
		aes.BlockSize) / aes.BlockSize * aes.BlockSize // with the MAC and one byte of padding
	if len(f)%aes.BlockSize != 0 || len(f) < aes.BlockSize+least {
		return nil, errMAC
	}
	text := f[aes.BlockSize:]
	cipher.NewCBCDecrypter(c.block, f[:aes.BlockSize]).CryptBlocks(text, text)
	pad, good := padding(text)
	// An invalid padding is treated as an empty one, and the number of hash blocks does
	// not depend on the padding. The time therefore reveals neither.
	n := len(text) - c.macLen - pad
	good &= subtle.ConstantTimeLessOrEq(0, n)
	n = subtle.ConstantTimeSelect(subtle.ConstantTimeLessOrEq(0, n), n, 0)
	c.mac.Reset()
	c.mac.Write(pseudoHeader(c.head[:0], seq, typ, n))
	c.mac.Write(text[:n])
	sum := c.mac.Sum(c.sum[:0])
	c.equalise(text, n)
	if subtle.ConstantTimeCompare(sum, text[n:n+c.macLen])&good != 1 {
		return nil, errMAC
	}
	return text[:n], nil
}

// equalise hashes the bytes that were left out, after the sum has been taken.
func (c *cbc) equalise(text []byte, n int) {
	rounds := func(n int) int {
		return (len(c.head) + n + 1 + c.hashBlock/8 + c.hashBlock - 1) / c.hashBlock
	}
	var zeros [128]byte
	for range rounds(len(text)-c.macLen) - rounds(n) {
		c.mac.Write(zeros[:c.hashBlock])
	}
}

// padding returns the number of bytes of padding at the end of text, with its length
// byte, and 1 if all of them are valid. Otherwise it returns 0 and 0. It always
// examines the last 256 bytes.
func padding(text []byte) (n, good int) {
	last := int(text[len(text)-1])
	good = subtle.ConstantTimeLessOrEq(last+1, len(text))
	for i := range min(256, len(text)) {
		inside := subtle.ConstantTimeLessOrEq(i, last)
		same := subtle.ConstantTimeByteEq(text[len(text)-1-i], byte(last))
		good &= 1 ^ inside&(1^same)
	}
	return subtle.ConstantTimeSelect(good, last+1, 0), good
}
