package remotepair

import (
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"io"
	"math/big"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
)

// SRP-6a as pair-setup uses it: the group of 3072 bits of RFC 5054 with g = 5, SHA-512,
// and the user name Pair-Setup.
//
// Implementations differ in leading zeros: they hash S, A and B as they are, or padded
// to 384 bytes. The client therefore draws its secret until neither A nor S begins with
// a zero. The server accepts each combination.
//
// math/big does not run in constant time. This is acceptable, because each secret is
// used once, in an exchange that a user has started.
const (
	srpUser   = "Pair-Setup"
	srpBytes  = 384
	srpSecret = 32
	saltLen   = 16
	// pinless is the PIN if the device shows a dialog instead.
	pinless = "000000"
)

const srpPrime = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD" +
	"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F" +
	"83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B" +
	"E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510" +
	"15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7" +
	"ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C" +
	"BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF"

// srpGroup has the constants of the group.
type srpGroup struct {
	n, g, k *big.Int
	xor     []byte // H(N) xor H(g), g as one byte
}

var group = sync.OnceValue(func() *srpGroup {
	n, _ := new(big.Int).SetString(srpPrime, 16)
	g := big.NewInt(5)
	hn, hg := hash(n.Bytes()), hash(g.Bytes())
	subtle.XORBytes(hn, hn, hg)
	return &srpGroup{n: n, g: g, k: number512(hash(pad(n), pad(g))), xor: hn}
})

var errGroup = errors.New("public key is not in the group")

func hash(parts ...[]byte) []byte {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func number512(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

func pad(x *big.Int) []byte { return x.FillBytes(make([]byte, srpBytes)) }

// public decodes A or B, which must not be a multiple of N.
func public(b []byte) (*big.Int, error) {
	x := number512(b)
	if len(b) > srpBytes || new(big.Int).Mod(x, group().n).Sign() == 0 {
		return nil, errGroup
	}
	return x, nil
}

// privateX returns x = H(salt | H(I ":" P)).
func privateX(user, pin string, salt []byte) *big.Int {
	return number512(hash(salt, hash([]byte(user+":"+pin))))
}

// scramble returns u = H(PAD(A) | PAD(B)).
func scramble(a, b *big.Int) (*big.Int, error) {
	u := number512(hash(pad(a), pad(b)))
	if u.Sign() == 0 {
		return nil, errGroup
	}
	return u, nil
}

// proof returns M1 = H((H(N) xor H(g)) | H(I) | salt | A | B | K).
func proof(user string, salt, a, b, key []byte) []byte {
	return hash(group().xor, hash([]byte(user)), salt, a, b, key)
}

// randomExponent returns a function that returns random secrets.
func randomExponent(r io.Reader) func() *big.Int {
	return func() *big.Int {
		b := make([]byte, srpSecret)
		link.Fill(r, b)
		b[0] |= 0x80
		return number512(b)
	}
}

// srpClient is the host's state after M2.
type srpClient struct {
	public []byte // A
	proof  []byte // M1
	key    []byte // K
	expect []byte // M2
}

// newSRPClient answers the server's salt and B. draw returns candidates for the secret
// exponent.
func newSRPClient(
	user, pin string, salt, serverPublic []byte, draw func() *big.Int,
) (*srpClient, error) {
	g := group()
	b, err := public(serverPublic)
	if err != nil {
		return nil, err
	}
	x := privateX(user, pin, salt)
	// (B - k*g^x) mod N
	base := new(big.Int).Exp(g.g, x, g.n)
	base.Mul(base, g.k).Sub(b, base).Mod(base, g.n)
	for {
		a := draw()
		pub := new(big.Int).Exp(g.g, a, g.n)
		u, err := scramble(pub, b)
		if err != nil {
			return nil, err
		}
		s := new(big.Int).Exp(base, u.Mul(u, x).Add(u, a), g.n)
		if s.Sign() == 0 {
			return nil, errGroup
		}
		if len(pub.Bytes()) < srpBytes || len(s.Bytes()) < srpBytes {
			continue // see the comment about leading zeros above
		}
		c := &srpClient{public: pub.Bytes(), key: hash(s.Bytes())}
		c.proof = proof(user, salt, c.public, b.Bytes(), c.key)
		c.expect = hash(c.public, c.proof, c.key)
		return c, nil
	}
}

// confirms reports whether the server has proved that it knows the PIN, too.
func (c *srpClient) confirms(serverProof []byte) bool {
	return subtle.ConstantTimeCompare(c.expect, serverProof) == 1
}

// srpServer is the device's state.
type srpServer struct {
	user     string
	salt     []byte
	verifier *big.Int
	secret   *big.Int // b
	public   *big.Int // B
}

// newSRPServer draws b until B has no leading zero, because clients differ in how they
// hash it.
func newSRPServer(user, pin string, salt []byte, draw func() *big.Int) *srpServer {
	g := group()
	s := &srpServer{user: user, salt: salt}
	s.verifier = new(big.Int).Exp(g.g, privateX(user, pin, salt), g.n)
	kv := new(big.Int).Mul(g.k, s.verifier)
	for s.public == nil || len(s.public.Bytes()) < srpBytes {
		s.secret = draw()
		s.public = new(big.Int).Exp(g.g, s.secret, g.n)
		s.public.Add(s.public, kv).Mod(s.public, g.n)
	}
	return s
}

// newSalt returns a salt without a leading zero byte, because pymobiledevice3 converts the
// salt to a number.
func newSalt(r io.Reader) []byte {
	b := make([]byte, saltLen)
	for b[0] == 0 {
		link.Fill(r, b)
	}
	return b
}

// check compares the client's proof with the proof for each way of hashing leading
// zeros. It returns the server's proof and the key.
func (s *srpServer) check(clientPublic, clientProof []byte) (serverProof, key []byte, err error) {
	g := group()
	a, err := public(clientPublic)
	if err != nil {
		return nil, nil, err
	}
	u, err := scramble(a, s.public)
	if err != nil {
		return nil, nil, err
	}
	// (A * v^u)^b mod N
	secret := new(big.Int).Exp(s.verifier, u, g.n)
	secret.Mul(secret, a).Mod(secret, g.n).Exp(secret, s.secret, g.n)
	for _, sBytes := range [][]byte{secret.Bytes(), pad(secret)} {
		k := hash(sBytes)
		for _, aBytes := range [][]byte{a.Bytes(), pad(a)} {
			want := proof(s.user, s.salt, aBytes, s.public.Bytes(), k)
			if subtle.ConstantTimeCompare(want, clientProof) == 1 {
				return hash(aBytes, want, k), k, nil
			}
		}
	}
	return nil, nil, ErrWrongPIN
}
