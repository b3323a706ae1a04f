package trust

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
)

// deviceKeys are the RSA keys of the phones of this process, by their serial
// numbers. Making one takes long, so a phone with a number beyond them has the key
// of an earlier one.
var deviceKeys [16]struct {
	once sync.Once
	key  *rsa.PrivateKey
}

// Key is the phone's own key. The first call takes as long as making an RSA key
// does.
func (t *Trust) Key() *rsa.PrivateKey {
	k := &deviceKeys[t.o.Identity.Number%uint64(len(deviceKeys))]
	k.once.Do(func() {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic("phone: making an RSA key: " + err.Error()) // crypto/rand never fails
		}
		k.key = key
	})
	return k.key
}

// PublicKeyPEM is the DevicePublicKey: PKCS #1, since many hosts read no
// other form, with a newline at the end.
func (t *Trust) PublicKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(&t.Key().PublicKey)})
}
