package remotepair

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
)

const (
	// defaultMaxPeers is the number of hosts that a phone can trust.
	defaultMaxPeers = 64
	// After backOffAfter consecutive wrong PINs a phone makes hosts wait. After
	// maxTries it refuses all attempts until Reset.
	backOffAfter = 10
	maxTries     = 100
	backOffTime  = time.Minute
)

// Peer is a host that a phone trusts for tunnels.
type Peer struct {
	Identifier, Name, Model string
	PublicKey               ed25519.PublicKey
	AltIRK                  []byte `json:"-"` // key of the host's Bonjour records
}

// Peers is a phone's state of remote pairing: its identity, and the hosts that it
// trusts. All connections to a phone share it.
type Peers struct {
	id     *Identity
	clock  func() time.Time
	mu     sync.Mutex
	max    int
	hosts  map[string]Peer
	wrong  int // consecutive wrong PINs
	waitTo time.Time
}

// NewPeers returns the state of a phone that trusts no host. Its identifier depends on
// the phone's UDID, and its keys are random. The phone's Trust.Reset also
// resets it.
func NewPeers(p *phone.Phone) *Peers {
	sum := sha256.Sum256([]byte("remote pairing of " + p.Identity.UDID))
	id := NewIdentity("", nil)
	id.Identifier = formatUUID([16]byte(sum[:16]), 4)
	seed, irk := sha256.Sum256(
		[]byte("remote pairing key of "+p.Identity.UDID),
	), sha256.Sum256([]byte("remote pairing IRK of "+p.Identity.UDID))
	id.PrivateKey, id.AltIRK = ed25519.NewKeyFromSeed(seed[:]), irk[:16]
	peers := &Peers{id: id, clock: p.Clock.Now, max: defaultMaxPeers, hosts: map[string]Peer{}}
	p.Trust.OnReset(peers.Reset)
	return peers
}

// Identifier returns the identifier with which the phone signs.
func (p *Peers) Identifier() string { return p.id.Identifier }

// AuthTag returns the authTag of a Bonjour record of this phone.
func (p *Peers) AuthTag(identifier string) string { return AuthTag(p.id.AltIRK, identifier) }

// Peer returns a trusted host.
func (p *Peers) Peer(identifier string) (Peer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, ok := p.hosts[identifier]
	return h, ok
}

// All returns the trusted hosts, sorted by identifier.
func (p *Peers) All() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.hosts),
		func(a, b Peer) int { return strings.Compare(a.Identifier, b.Identifier) })
}

// Remove forgets a host and reports whether it was known.
func (p *Peers) Remove(identifier string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.hosts[identifier]
	delete(p.hosts, identifier)
	return ok
}

// Reset forgets all hosts and wrong PINs.
func (p *Peers) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts, p.wrong, p.waitTo = map[string]Peer{}, 0, time.Time{}
}

// SetMax sets the number of hosts that can be trusted.
func (p *Peers) SetMax(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.max = n
}

// String omits the keys.
func (p *Peers) String() string { return fmt.Sprintf("remote pairing of %s", p.id.Identifier) }

// Format prints String for every verb, so that no verb prints the keys.
func (p *Peers) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, p.String()) }

// LogValue returns the identifier.
func (p *Peers) LogValue() slog.Value { return slog.StringValue(p.id.Identifier) }

// Format prints a host's name and identifier for every verb.
func (h Peer) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "host %s (%q, key %s)", h.Identifier, h.Name,
		hex.EncodeToString(h.PublicKey))
}

// mayTry returns 0 if another attempt is allowed, and otherwise a code and the time to
// wait.
func (p *Peers) mayTry() (code byte, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch left := p.waitTo.Sub(p.clock()); {
	case p.wrong >= maxTries:
		return codeMaxTries, 0
	case left > 0:
		return codeBackOff, left
	}
	return 0, 0
}

// tried records whether a PIN was right.
func (p *Peers) tried(right bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if right {
		p.wrong = 0
		return
	}
	p.wrong++
	if p.wrong%backOffAfter == 0 {
		p.waitTo = p.clock().Add(backOffTime)
	}
}

// add trusts a host. It fails if there are too many.
func (p *Peers) add(h Peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.hosts[h.Identifier]; !known && len(p.hosts) >= p.max {
		return false
	}
	p.hosts[h.Identifier] = h
	return true
}

// newPIN returns random digits, as an Apple TV shows them.
func newPIN(rand io.Reader) string {
	const digits = "0123456789"
	b := make([]byte, 0, len(pinless))
	for len(b) < cap(b) {
		var r [1]byte
		link.Fill(rand, r[:])
		if r[0] >= 250 { // a multiple of ten values, so that digits are equally likely
			continue
		}
		b = append(b, digits[r[0]%10])
	}
	return string(b)
}
