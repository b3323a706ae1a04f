package remotepair

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

const (
	codeBackOff  = tlv8.CodeBackOff
	codeMaxTries = tlv8.CodeMaxTries

	// rejectedCode is the code of a refusal. Hosts show only its text.
	rejectedCode = 1
)

func (s *session) randomKey() []byte {
	b := make([]byte, keyLen)
	link.Fill(s.d.Rand, b)
	return b
}

// verifyDevice is the state of a verify.
type verifyDevice struct {
	next         byte // state of the message that is expected; 0 means 1
	mine, theirs []byte
	secret, key  []byte
}

// setupDevice is the state of a setup.
type setupDevice struct {
	next byte
	srp  *srpServer
	key  []byte // the session key of SRP
	name string // name of the host
}

func (s *session) sendPairing(ctx context.Context, kind string, list tlv8.List) error {
	c, err := pairingEvent(kind, list, false, "")
	if err != nil {
		return err
	}
	return s.send(ctx, c)
}

// sendError refuses a message with the given state.
func (s *session) sendError(ctx context.Context, kind string, state, code byte) error {
	s.log.Warn("pairing refused", "kind", kind, "state", state, "code", code)
	return s.sendPairing(ctx, kind,
		tlv8.List{tlv8.Byte(tlv8.State, state+1), tlv8.Byte(tlv8.PairingError, code)})
}

// due reports whether a message is the expected one. The first message of a new session
// is always accepted.
func due(p *pairingData, next *byte) bool {
	if p.state() == 1 && (p.fresh || *next <= 1) {
		*next = 1
		return true
	}
	return p.state() == *next && *next > 1
}

func (s *session) verifyMessage(ctx context.Context, p *pairingData) error {
	v := &s.verify
	if !due(p, &v.next) {
		state := max(v.next, 1)
		*v = verifyDevice{}
		return s.sendError(ctx, kindVerify, state, tlv8.CodeUnknown)
	}
	s.enc = nil
	if v.next == 1 {
		return s.verifyM1(ctx, p)
	}
	code := s.verifyM3(p)
	secret := v.secret
	*v = verifyDevice{}
	if code != 0 {
		return s.sendError(ctx, kindVerify, 3, code)
	}
	s.enc = newChannel(secret)
	return s.sendPairing(ctx, kindVerify, tlv8.List{tlv8.Byte(tlv8.State, 4)})
}

func (s *session) verifyM1(ctx context.Context, p *pairingData) error {
	s.verify = verifyDevice{}
	theirs, _ := p.list.Get(tlv8.PublicKey)
	key, err := newKey(s.d.Rand)
	if err != nil {
		return err
	}
	secret, err := agree(key, theirs)
	if err != nil {
		return s.sendError(ctx, kindVerify, 1, tlv8.CodeUnknown)
	}
	mine := key.PublicKey().Bytes()
	v := verifyDevice{
		next: 3, mine: mine, theirs: slices.Clone(theirs), secret: secret, key: verifyKey(secret),
	}
	id := s.d.Peers.id
	sealed, err := sealProof(v.key, nonceVerify2, id.Identifier, id.PrivateKey, mine, theirs)
	if err != nil {
		return err
	}
	s.verify = v
	return s.sendPairing(ctx, kindVerify, tlv8.List{tlv8.Byte(tlv8.State, 2),
		{Type: tlv8.PublicKey, Value: mine}, {Type: tlv8.EncryptedData, Value: sealed}})
}

// verifyM3 returns the code of the host's error, or 0 if there is none.
func (s *session) verifyM3(p *pairingData) byte {
	v := &s.verify
	id, signature, err := openProof(p, v.key, nonceVerify3)
	if err != nil {
		return tlv8.CodeAuthentication
	}
	host, ok := s.d.Peers.Peer(id)
	if !ok {
		return tlv8.CodeUnknownPeer
	}
	if !ed25519.Verify(host.PublicKey, slices.Concat(v.theirs, []byte(id), v.mine), signature) {
		return tlv8.CodeAuthentication
	}
	return 0
}

func (s *session) setupMessage(ctx context.Context, p *pairingData) error {
	u := &s.setup
	if !due(p, &u.next) {
		state := max(u.next, 1)
		*u = setupDevice{}
		return s.sendError(ctx, kindSetup, state, tlv8.CodeUnknown)
	}
	s.enc = nil
	switch u.next {
	case 1:
		return s.setupM1(ctx, p)
	case 3:
		return s.setupM3(ctx, p)
	}
	return s.setupM5(ctx, p)
}

func (s *session) setupM1(ctx context.Context, p *pairingData) error {
	s.setup = setupDevice{name: p.hostName}
	if s.d.NoSetup {
		return s.reject(ctx, "Pairing is not allowed.")
	}
	if s.d.Phone.Screen.Locked() {
		return s.reject(ctx, "The device is locked.")
	}
	if code, wait := s.d.Peers.mayTry(); code != 0 {
		list := tlv8.List{tlv8.Byte(tlv8.PairingError, code)}
		if wait > 0 {
			seconds := uint16(min((wait+time.Second-1)/time.Second, 1<<16-1))
			list = append(list, tlv8.Item{
				Type: tlv8.RetryDelay, Value: binary.LittleEndian.AppendUint16(nil, seconds),
			})
		}
		return s.sendPairing(ctx, kindSetup, append(list, tlv8.Byte(tlv8.State, 2)))
	}
	pin := pinless
	if s.d.ShowPIN != nil {
		pin = newPIN(s.d.Rand)
		s.d.ShowPIN(pin)
	} else {
		// go-ios reads exactly one message between M1 and M2. pymobiledevice3 and idevice
		// ask for a PIN if this message is missing.
		if err := s.send(ctx, &content{kind: kindEvent, name: nameConsent}); err != nil {
			return err
		}
		err := s.consent(ctx, p.hostName)
		select {
		case <-s.gone:
			return s.err
		default:
		}
		if errors.Is(err, trust.ErrUserDenied) {
			return s.reject(ctx, "The user denied the pairing.")
		}
		if err != nil {
			return s.reject(ctx, "The user did not respond.")
		}
	}
	s.setup.srp = newSRPServer(srpUser, pin, newSalt(s.d.Rand), randomExponent(s.d.Rand))
	s.setup.next = 3
	return s.sendPairing(ctx, kindSetup, tlv8.List{tlv8.Byte(tlv8.State, 2),
		{Type: tlv8.Salt, Value: s.setup.srp.salt},
		{Type: tlv8.PublicKey, Value: pad(s.setup.srp.public)}})
}

// consent asks the user. It ends with the dialog, or when the host leaves.
func (s *session) consent(ctx context.Context, hostName string) error {
	if s.d.Consent == nil {
		return nil
	}
	wait := s.d.ConsentTimeout
	if wait == 0 {
		wait = dialogTime
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- s.d.Consent(ctx, trust.Dialog{Label: hostName, HostName: hostName}) }()
	select {
	case err := <-answer:
		return err
	case <-s.gone:
		cancel()
	case <-ctx.Done():
	}
	return <-answer
}

func (s *session) reject(ctx context.Context, text string) error {
	s.setup = setupDevice{}
	s.log.Warn("pairing rejected", "reason", text)
	return s.send(ctx, &content{kind: kindEvent, name: nameRejected,
		args: plist.Dict{"wrappedError": nsError(controlDomain, rejectedCode, text)}})
}

func (s *session) setupM3(ctx context.Context, p *pairingData) error {
	u := &s.setup
	public, _ := p.list.Get(tlv8.PublicKey)
	theirs, _ := p.list.Get(tlv8.Proof)
	mine, key, err := u.srp.check(public, theirs)
	s.d.Peers.tried(err == nil)
	if err != nil {
		*u = setupDevice{}
		return s.sendError(ctx, kindSetup, 3, tlv8.CodeAuthentication)
	}
	u.next, u.key, u.srp = 5, key, nil
	return s.sendPairing(ctx, kindSetup,
		tlv8.List{tlv8.Byte(tlv8.State, 4), {Type: tlv8.Proof, Value: mine}})
}

func (s *session) setupM5(ctx context.Context, p *pairingData) error {
	u := s.setup
	s.setup = setupDevice{}
	key := setupKey(u.key)
	host, err := openIntroduction(p, 5, key, nonceSetup5, u.key, signed5)
	if err != nil {
		return s.sendError(ctx, kindSetup, 5, tlv8.CodeAuthentication)
	}
	peer := Peer{
		Identifier: host.id, Name: host.info.name, Model: host.info.model, PublicKey: host.public,
		AltIRK: host.info.altIRK,
	}
	if peer.Name == "" {
		peer.Name = u.name
	}
	id := s.d.Peers.id
	me := introduction{id.Identifier, id.public(), s.d.info()}
	sealed, err := sealIntroduction(me,
		ed25519.Sign(id.PrivateKey, signed6(u.key, id.Identifier, id.public())), key, nonceSetup6)
	if err != nil {
		return err
	}
	if !s.d.Peers.add(peer) {
		return s.sendError(ctx, kindSetup, 5, tlv8.CodeMaxPeers)
	}
	if err := s.sendPairing(ctx, kindSetup, tlv8.List{
		tlv8.Byte(tlv8.State, 6), {Type: tlv8.EncryptedData, Value: sealed},
	}); err != nil {
		return err
	}
	s.enc = newChannel(u.key)
	s.log.Info("paired", "host", peer.Identifier)
	return nil
}

// info returns what the phone sends about itself in M6.
func (d *Device) info() peerInfo {
	text := func(key string) string {
		v, _ := d.Phone.Values.Get("", key)
		s, _ := v.(string)
		return s
	}
	mac, _ := hex.DecodeString(
		strings.ReplaceAll(text("WiFiAddress"), ":", ""),
	) // cannot happen: the phone's values can be encoded
	return peerInfo{
		altIRK:    d.Peers.id.AltIRK,
		accountID: d.Peers.id.Identifier,
		model:     d.Phone.Identity.ProductType,
		name:      d.Phone.Values.Name(),
		udid:      d.Phone.Identity.UDID,
		serial:    text("SerialNumber"),
		bluetooth: text("BluetoothAddress"),
		mac:       mac,
	}
}
