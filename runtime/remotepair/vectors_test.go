package remotepair

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
)

// vectors are values that other implementations computed. The file names them.
type vectors struct {
	testing.TB
	values map[string]string
}

func loadVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Values map[string]string }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return vectors{t, file.Values}
}

func (v vectors) get(name string) []byte {
	v.Helper()
	b, err := hex.DecodeString(v.values[name])
	if err != nil {
		v.Fatalf("vector %q: %v", name, err)
	}
	if len(b) == 0 {
		v.Fatalf("vector %q is missing", name)
	}
	return b
}

func (v vectors) check(name string, got []byte) {
	v.Helper()
	if want := v.get(name); !bytes.Equal(got, want) {
		v.Errorf("%s = %x, want %x", name, got, want)
	}
}

func fixed(b []byte) func() *big.Int { return func() *big.Int { return number512(b) } }

// runSRP runs both sides with the secrets of the vectors.
func (v vectors) runSRP(user, pin string) (*srpServer, *srpClient) {
	v.Helper()
	s := newSRPServer(user, pin, v.get("salt"), fixed(v.get("b")))
	c, err := newSRPClient(user, pin, s.salt, pad(s.public), fixed(v.get("a")))
	if err != nil {
		v.Fatal(err)
	}
	return s, c
}

func TestSRPVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, set := range []struct{ name, user, pin string }{
		{"alice", "alice", "password123"}, {"setup", srpUser, pinless},
	} {
		s, c := v.runSRP(set.user, set.pin)
		v.check("alice SHA-512(A)", hash(c.public)) // a is the same in both sets
		v.check(set.name+" K", c.key)
		v.check(set.name+" M1", c.proof)
		v.check(set.name+" M2", c.expect)
		m2, key, err := s.check(c.public, c.proof)
		if err != nil {
			t.Fatal(err)
		}
		v.check(set.name+" K", key)
		v.check(set.name+" M2", m2)
		if set.name == "alice" {
			u, err := scramble(number512(c.public), s.public)
			if err != nil {
				t.Fatal(err)
			}
			v.check("alice u", u.Bytes()) // without its leading zero byte
		} else {
			v.check("setup SHA-512(B)", hash(s.public.Bytes()))
			v.check("setup x", privateX(set.user, set.pin, s.salt).Bytes())
		}
	}
	v.check("alice k", group().k.Bytes())
	v.check("alice H(N) xor H(g)", group().xor)
}

func TestSetupKeyVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	k := v.get("setup K")
	v.check("setup Pair-Setup encKey", setupKey(k))
	v.check("setup Controller-Sign X", signed5(k, "", nil))
	v.check("setup Accessory-Sign X", signed6(k, "", nil))
	v.check("setup ClientEncrypt-main", derive(k, "", "ClientEncrypt-main"))
	v.check("setup ServerEncrypt-main", derive(k, "", "ServerEncrypt-main"))

	plain, err := appendJSON(nil, (&content{kind: kindRequest, name: nameUnlockKey}).tree())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"request":{"_0":{"createRemoteUnlockKey":{}}}}`; string(plain) != want {
		t.Fatalf("request = %s, want %s", plain, want)
	}
	c := newChannel(k)
	v.check("setup streamEncrypted, counter 0", c.seal(c.client, plain))
	c.n = 0x0102
	if want := []byte{2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(c.nonce(), want) {
		t.Errorf("nonce % x, want % x", c.nonce(), want)
	}
}

const (
	hostID   = "11111111-2222-3333-4444-555555555555"
	deviceID = "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE"
)

func repeated(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func TestVerifyVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	private := func(b byte) *ecdh.PrivateKey {
		k, err := ecdh.X25519().NewPrivateKey(repeated(b))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	host, device := private(0x41), private(0x42)
	hostPub, devicePub := host.PublicKey().Bytes(), device.PublicKey().Bytes()
	v.check("verify host public", hostPub)
	v.check("verify device public", devicePub)
	for _, end := range []struct {
		key    *ecdh.PrivateKey
		public []byte
	}{{host, devicePub}, {device, hostPub}} {
		shared, err := agree(end.key, end.public)
		if err != nil {
			t.Fatal(err)
		}
		v.check("verify shared", shared)
	}
	shared := v.get("verify shared")
	key := verifyKey(shared)
	v.check("verify pvkey", key)
	v.check("verify ClientEncrypt-main", derive(shared, "", "ClientEncrypt-main"))
	v.check("verify ServerEncrypt-main", derive(shared, "", "ServerEncrypt-main"))

	hostKey, deviceKey := ed25519.NewKeyFromSeed(
		repeated(0x43),
	), ed25519.NewKeyFromSeed(repeated(0x44))
	v.check("verify host LTPK", hostKey.Public().(ed25519.PublicKey))
	v.check("info device LTPK", deviceKey.Public().(ed25519.PublicKey))
	m3, err := sealProof(key, nonceVerify3, hostID, hostKey, hostPub, devicePub)
	if err != nil {
		t.Fatal(err)
	}
	v.check("verify M3 EncryptedData", m3)
	m2, err := sealProof(key, nonceVerify2, deviceID, deviceKey, devicePub, hostPub)
	if err != nil {
		t.Fatal(err)
	}
	v.check("verify M2 EncryptedData", m2)
	id, signature, err := openProof(
		&pairingData{list: tlv8.List{{Type: tlv8.EncryptedData, Value: m3}}}, key, nonceVerify3,
	)
	if err != nil {
		t.Errorf("openProof: %v", err)
	}
	if id != hostID {
		t.Errorf("openProof = %q, want %q", id, hostID)
	}
	v.check("verify M3 signature", signature)
	// With a public key of small order, anybody can compute the secret.
	for _, public := range [][]byte{
		nil, make([]byte, 31), make([]byte, 32), append([]byte{1}, make([]byte, 31)...),
	} {
		if _, err := agree(host, public); err == nil {
			t.Errorf("agreed with % x", public)
		}
	}
}

func TestIntroductionVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	k := v.get("setup K")
	key := setupKey(k)
	hostKey, deviceKey := ed25519.NewKeyFromSeed(
		repeated(0x43),
	), ed25519.NewKeyFromSeed(repeated(0x44))
	id := &Identity{
		Identifier: "lolsssss", AltIRK: v.get("info M5 Info")[9:25], PrivateKey: hostKey,
	}
	host := introduction{hostID, hostKey.Public().(ed25519.PublicKey), hostInfo(id, "reeeee")}
	info, err := host.info.encode()
	if err != nil {
		t.Fatal(err)
	}
	v.check("info M5 Info", info)
	signature := ed25519.Sign(hostKey, signed5(k, hostID, host.public))
	v.check("info M5 signature", signature)
	m5, err := sealIntroduction(host, signature, key, nonceSetup5)
	if err != nil {
		t.Fatal(err)
	}
	v.check("info M5 EncryptedData", m5)

	v.check("info M6 signature",
		ed25519.Sign(deviceKey, signed6(k, deviceID, deviceKey.Public().(ed25519.PublicKey))))
	list := tlv8.List{
		tlv8.Byte(tlv8.State, 6), {Type: tlv8.EncryptedData, Value: v.get("info M6 EncryptedData")},
	}
	device, err := openIntroduction(&pairingData{list: list}, 6, key, nonceSetup6, k, signed6)
	if err != nil {
		t.Fatal(err)
	}
	want := device.info
	want.accountID, want.model, want.name = deviceID, "iPhone15,3", "iPhone"
	if device.id != deviceID {
		t.Errorf("M6: identifier %q, want %q", device.id, deviceID)
	}
	if n := len(device.info.altIRK); n != irkLen {
		t.Errorf("M6: altIRK of %d bytes, want %d", n, irkLen)
	}
	if n := len(device.info.udid); n != 25 {
		t.Errorf("M6: UDID %q, want 25 characters", device.info.udid)
	}
	if !reflect.DeepEqual(device.info, want) {
		t.Errorf("M6: info %+v, want %+v", device.info, want)
	}
	plain, err := openPairing(key, nonceSetup6, v.get("info M6 EncryptedData"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"info M6 Info", "info M6 signature"} {
		if !bytes.Contains(plain, v.get(part)) {
			t.Errorf("M6 = %x, want %s in it", plain, part)
		}
	}
	for i := range list[1].Value { // a change of any byte must be noticed
		bent := slices.Clone(list[1].Value)
		bent[i] ^= 1
		if _, err := openIntroduction(
			&pairingData{list: tlv8.List{list[0], {Type: tlv8.EncryptedData, Value: bent}}}, 6, key,
			nonceSetup6, k, signed6,
		); err == nil {
			t.Fatalf("M6 with byte %d bent was taken", i)
		}
	}
}

// The first values are from the reference code of the SipHash paper. The last one is from
// a real record.
func TestSipHash(t *testing.T) {
	t.Parallel()
	key := make([]byte, 16)
	for i := range key {
		key[i] = byte(i)
	}
	for n, want := range map[int]uint64{
		0: 0x726FDB47DD0E0E31, 1: 0x74F839C593DC67FD, 7: 0xAB0200F58B01D137,
	} {
		if got := sipHash(key, key[:n]); got != want {
			t.Errorf("sipHash of %d bytes = %x, want %x", n, got, want)
		}
	}
	// Appendix A of the paper: 15 bytes.
	if got := sipHash(key, key[:15]); got != 0xa129ca6149be45e5 {
		t.Errorf("sipHash of 15 bytes = %x", got)
	}
	irk, _ := hex.DecodeString("320a7a6463f35ccda4bbd6ebe3abec8b")
	const identifier = "2BE6E510-0325-4365-923E-B14C6F57DB3A"
	if got := AuthTag(irk, identifier); got != "kXjlTr2l" {
		t.Errorf("AuthTag = %q", got)
	}
	if AuthTag(irk[:15], identifier) != "" {
		t.Error("AuthTag of a short key")
	}
	r := &Record{PeerAltIRK: irk}
	wantMatch(t, r, identifier, "kXjlTr2l")
	if same, known := r.Matches(identifier, "AAAAAAAA"); !known {
		t.Error("the record has no key for Bonjour records")
	} else if same {
		t.Error("record matches another device")
	}
	if _, known := (&Record{}).Matches(identifier, ""); known {
		t.Error("a record without altIRK knows")
	}
}

// Each way in which a client may handle leading zeros must be accepted. The secrets are
// drawn until S, or A, begins with a zero byte.
func TestSRPLeadingZeros(t *testing.T) {
	t.Parallel()
	g := group()
	salt := []byte("0123456789abcdef")
	s := newSRPServer(srpUser, pinless, salt, randomExponent(nil))
	x := privateX(srpUser, pinless, salt)
	base := new(big.Int).Exp(g.g, x, g.n)
	base.Mul(base, g.k).Sub(s.public, base).Mod(base, g.n)
	var shortS, shortA bool
	for a := int64(1 << 40); !shortS || !shortA; a++ {
		secret := big.NewInt(a)
		pub := new(big.Int).Exp(g.g, secret, g.n)
		isShort := len(pub.Bytes()) < srpBytes
		if isShort && shortA {
			continue
		}
		u, err := scramble(pub, s.public)
		if err != nil {
			t.Fatal(err)
		}
		key := new(big.Int).Exp(base, u.Mul(u, x).Add(u, secret), g.n)
		if len(key.Bytes()) == srpBytes && !isShort {
			continue
		}
		shortS, shortA = shortS || len(key.Bytes()) < srpBytes, shortA || isShort
		for _, sBytes := range [][]byte{key.Bytes(), pad(key)} {
			for _, aBytes := range [][]byte{pub.Bytes(), pad(pub)} {
				k := hash(sBytes)
				m1 := proof(srpUser, salt, aBytes, s.public.Bytes(), k)
				m2, got, err := s.check(pub.Bytes(), m1)
				if err != nil {
					t.Fatalf("a = %d: %v", a, err)
				}
				if !bytes.Equal(got, k) {
					t.Fatalf("a = %d: key %x, want %x", a, got, k)
				}
				if want := hash(aBytes, m1, k); !bytes.Equal(m2, want) {
					t.Fatalf("a = %d: M2 %x, want %x", a, m2, want)
				}
			}
		}
	}
}

func TestSRPRefusals(t *testing.T) {
	t.Parallel()
	g := group()
	s := newSRPServer(srpUser, pinless, newSalt(nil), randomExponent(nil))
	multiples := [][]byte{
		nil, {0}, g.n.Bytes(), make([]byte, srpBytes+1), append([]byte{0}, g.n.Bytes()...),
		new(big.Int).Lsh(g.n, 1).Bytes(),
	}
	for _, b := range multiples {
		if _, _, err := s.check(b, make([]byte, 64)); err == nil {
			t.Errorf("server took A of %d bytes", len(b))
		}
		if _, err := newSRPClient(srpUser, pinless, s.salt, b, randomExponent(nil)); err == nil {
			t.Errorf("client took B of %d bytes", len(b))
		}
	}
	c, err := newSRPClient(srpUser, "000001", s.salt, pad(s.public), randomExponent(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, m1 := range [][]byte{nil, c.proof, c.proof[:63], make([]byte, 64)} {
		if _, _, err := s.check(c.public, m1); err != ErrWrongPIN {
			t.Errorf("wrong proof: %v", err)
		}
	}
	for _, m2 := range [][]byte{nil, c.proof} {
		if c.confirms(m2) {
			t.Errorf("the client accepts the wrong proof %x", m2)
		}
	}
}

func TestHostIdentifier(t *testing.T) {
	t.Parallel()
	// RFC 4122's name space and the example that Python's uuid module gives.
	if got := HostIdentifier("python.org"); got != "6FA459EA-EE8A-3CA4-894E-DB77E160355E" {
		t.Errorf("HostIdentifier = %s", got)
	}
}

// This is the first message that a client of another project sends.
func TestHandshakeMessage(t *testing.T) {
	t.Parallel()
	m := &Message{content: &content{kind: kindRequest, name: nameHandshake,
		args: plist.Dict{"_0": plist.Dict{
			"hostOptions":         plist.Dict{"attemptPairVerify": true},
			"wireProtocolVersion": int64(19)}}}}
	got, err := appendJSON(nil, m.tree())
	const want = `{"message":{"plain":{"_0":{"request":{"_0":{"handshake":{"_0":{"hostOptions":{"attemptPairVerify":true},"wireProtocolVersion":19}}}}}}},"originatedBy":"host","sequenceNumber":0}`
	if err != nil {
		t.Errorf("appendJSON: %v", err)
	}
	if string(got) != want {
		t.Errorf("appendJSON = %s\nwant %s", got, want)
	}
}
