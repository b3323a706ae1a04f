package trust

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
)

// deviceKeys are the RSA keys of the phones of this process, by their serials. Making
// a key takes long, so a phone with a larger serial shares the key of another one.
var deviceKeys [16]struct {
	once sync.Once
	key  *rsa.PrivateKey
}

// Key returns the RSA key of the phone. The first call makes it, which takes long.
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

// PublicKeyPEM returns the DevicePublicKey, with a newline at the end. It is PKCS #1,
// because go-ios, idevice and libimobiledevice with GnuTLS read no other form.
func (t *Trust) PublicKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(&t.Key().PublicKey)})
}
