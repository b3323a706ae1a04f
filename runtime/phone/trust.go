package phone

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// TrustMode is how the user meets the trust dialog.
type TrustMode int

// The trust modes.
const (
	// TrustAccept trusts every host at once, without a dialog.
	TrustAccept TrustMode = iota
	// TrustAfter shows the dialog and taps Trust after TrustPolicy.After.
	TrustAfter
	// TrustDeny shows the dialog and taps Don't Trust.
	TrustDeny
	// TrustIgnore shows the dialog and does nothing.
	TrustIgnore
	// TrustAsk shows the dialog and leaves it to TapTrust and TapDeny.
	TrustAsk
)

// TrustPolicy is how the user answers the trust dialog.
type TrustPolicy struct {
	Mode TrustMode
	// After is how long the user of TrustAfter takes; 0 is at once, but the
	// first Pair has got its ErrDialogPending by then.
	After time.Duration
}

// Host is a computer that the phone trusts.
type Host struct {
	HostID, SystemBUID, Label string
	// The certificates are PEM, exactly as they came.
	HostCertificate, RootCertificate, DeviceCertificate []byte
	// EscrowBag is 32 random bytes, made at the first pairing of HostID.
	EscrowBag []byte
}

// PairRequest is what a host sends to be trusted.
type PairRequest struct {
	HostID, SystemBUID, Label, HostName                 string
	HostCertificate, RootCertificate, DeviceCertificate []byte
}

// Dialog is the trust dialog as the user sees it. SystemBUID is "" when it is
// about remote pairing.
type Dialog struct{ SystemBUID, Label, HostName string }

// What anybody who can pair makes the phone keep.
const (
	maxHosts       = 256      // trusted hosts
	maxHostID      = 256      // bytes of HostID and of SystemBUID
	maxCertificate = 64 << 10 // bytes of a certificate
	maxLabel       = 256      // bytes of Label and HostName, which are cut
)

// dialogState is the answer so far.
type dialogState int

const (
	dialogNone dialogState = iota
	dialogPending
	dialogAccepted
	dialogDenied
)

// trustStore is who is trusted and what the dialog shows. Trust hangs on the
// SystemBUID: some hosts come with a new HostID and new certificates at each
// attempt.
type trustStore struct {
	mu       sync.Mutex
	policy   TrustPolicy
	hosts    map[string]Host
	nth      map[string]int // when each host was stored, by HostID
	stored   int            // times that a host was
	dialog   Dialog
	state    dialogState
	timer    *time.Timer
	shown    int // dialogs so far
	onDialog func(Dialog)
	onReset  []func()

	turn   chan struct{} // holds a token while an AskTrust shows its dialog
	waiter chan error    // where the AskTrust whose dialog shows gets its answer
}

// Pair asks the phone to trust a host. The causes of failure are
// ErrInvalidPairRecord, ErrPasswordProtected, ErrDialogPending, ErrTooManyHosts and
// ErrUserDenied; while the dialog shows, the host asks again and again.
// Expiry dates and signatures of the certificates are not looked at: real
// hosts' are wrong in many ways.
func (p *Phone) Pair(r PairRequest) (Host, error) {
	r.Label, r.HostName = cutText(r.Label), cutText(r.HostName)
	if err := p.checkPair(r); err != nil {
		return Host{}, fail("pair", r.HostID, err)
	}
	if p.Locked() {
		return Host{}, fail("pair", r.HostID, ErrPasswordProtected)
	}
	t := &p.trust
	t.mu.Lock()
	var show func(Dialog)
	err := t.answer(p, r, &show)
	var host Host
	if err == nil {
		host, err = t.store(r)
	}
	dialog := t.dialog
	t.mu.Unlock()
	if show != nil {
		show(dialog)
	}
	if err != nil {
		return Host{}, fail("pair", r.HostID, err)
	}
	p.logf("lockdownd", "com.apple.mobile.lockdown", "pairing", "Host %s (%s) is now trusted",
		r.HostID, r.Label)
	return host, nil
}

func (p *Phone) checkPair(r PairRequest) error {
	if r.HostID == "" || r.SystemBUID == "" {
		return ErrInvalidPairRecord
	}
	if len(r.HostID) > maxHostID || len(r.SystemBUID) > maxHostID {
		return ErrInvalidPairRecord
	}
	for _, c := range [][]byte{r.HostCertificate, r.RootCertificate, r.DeviceCertificate} {
		if len(c) > maxCertificate {
			return ErrInvalidPairRecord
		}
	}
	for _, c := range [][]byte{r.HostCertificate, r.RootCertificate} {
		if _, err := parseCertificate(c); err != nil {
			return ErrInvalidPairRecord
		}
	}
	dev, err := parseCertificate(r.DeviceCertificate)
	if err != nil || !p.Key().PublicKey.Equal(dev.PublicKey) {
		return ErrInvalidPairRecord
	}
	return nil
}

// parseCertificate reads PEM, or DER as some hosts send it.
func parseCertificate(b []byte) (*x509.Certificate, error) {
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	return x509.ParseCertificate(b)
}

// answer reports whether the host may be stored now. The caller holds mu.
func (t *trustStore) answer(p *Phone, r PairRequest, show *func(Dialog)) error {
	same := t.dialog.SystemBUID == r.SystemBUID
	switch {
	case t.policy.Mode == TrustAccept, t.knows(r.SystemBUID):
		return nil
	case same && t.state == dialogAccepted:
		t.clear()
		return nil
	case same && t.state == dialogDenied:
		t.clear()
		return ErrUserDenied
	case same && t.state == dialogPending:
		return ErrDialogPending
	case t.waiter != nil:
		return ErrDialogPending // comes up when the other one is answered
	}
	// Another host's dialog replaces the one that shows.
	t.clear()
	*show = t.show(p, Dialog{SystemBUID: r.SystemBUID, Label: r.Label, HostName: r.HostName})
	return ErrDialogPending
}

// show puts a dialog on the screen and has the user look at it. The caller
// holds mu and calls what is returned without it, unless that is nil.
func (t *trustStore) show(p *Phone, d Dialog) func(Dialog) {
	t.dialog, t.state = d, dialogPending
	t.shown++
	n := t.shown
	switch t.policy.Mode {
	case TrustAfter:
		t.timer = time.AfterFunc(t.policy.After, func() { p.tapTrust(n) })
	case TrustDeny:
		t.state = dialogDenied
	}
	return t.onDialog
}

func (t *trustStore) knows(buid string) bool {
	for _, h := range t.hosts {
		if h.SystemBUID == buid {
			return true
		}
	}
	return false
}

// dismiss closes the dialog that shows, as locking and restarting do.
func (t *trustStore) dismiss() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == dialogPending {
		t.clear()
	}
}

func (t *trustStore) clear() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.dialog, t.state = Dialog{}, dialogNone
	t.tell(ErrDialogClosed)
}

// tell answers the AskTrust that waits, if one does.
func (t *trustStore) tell(err error) {
	if t.waiter != nil {
		t.waiter <- err // has room for the one answer
		t.waiter = nil
	}
}

func cutText(s string) string {
	if len(s) > maxLabel {
		s = strings.ToValidUTF8(s[:maxLabel], "")
	}
	return s
}

// makeRoom forgets the oldest record of the machine that pairs if there is no room for
// another one: some hosts come with a new HostID each time.
func (t *trustStore) makeRoom(r PairRequest) error {
	if _, known := t.hosts[r.HostID]; known || len(t.hosts) < maxHosts {
		return nil
	}
	oldest := ""
	for id, h := range t.hosts {
		if h.SystemBUID == r.SystemBUID && (oldest == "" || t.nth[id] < t.nth[oldest]) {
			oldest = id
		}
	}
	if oldest == "" {
		return ErrTooManyHosts
	}
	t.forget(oldest)
	return nil
}

func (t *trustStore) forget(hostID string) {
	delete(t.hosts, hostID)
	delete(t.nth, hostID)
}

func (t *trustStore) store(r PairRequest) (Host, error) {
	if err := t.makeRoom(r); err != nil {
		return Host{}, err
	}
	h := Host{HostID: r.HostID, SystemBUID: r.SystemBUID, Label: r.Label,
		HostCertificate:   slices.Clone(r.HostCertificate),
		RootCertificate:   slices.Clone(r.RootCertificate),
		DeviceCertificate: slices.Clone(r.DeviceCertificate),
		EscrowBag:         t.hosts[r.HostID].EscrowBag}
	if h.EscrowBag == nil {
		h.EscrowBag = randomBytes(32)
	}
	if t.hosts == nil {
		t.hosts, t.nth = map[string]Host{}, map[string]int{}
	}
	t.stored++
	t.hosts[r.HostID], t.nth[r.HostID] = h, t.stored
	return h, nil
}

// Host returns a trusted host.
func (p *Phone) Host(hostID string) (Host, bool) {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	h, ok := p.trust.hosts[hostID]
	return h, ok
}

// Hosts lists the trusted hosts, sorted by HostID.
func (p *Phone) Hosts() []Host {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.trust.hosts), func(a, b Host) int {
		return strings.Compare(a.HostID, b.HostID)
	})
}

// Unpair forgets a host. The machine behind it is asked again once its last
// record is gone. An unknown host is fs.ErrNotExist.
func (p *Phone) Unpair(hostID string) error {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	if _, ok := p.trust.hosts[hostID]; !ok {
		return fail("unpair", hostID, fs.ErrNotExist)
	}
	p.trust.forget(hostID)
	return nil
}

// ResetPairing forgets all hosts and closes the dialog, as "Reset Location &
// Privacy" does.
func (p *Phone) ResetPairing() {
	p.trust.mu.Lock()
	p.trust.hosts, p.trust.nth = nil, nil
	p.trust.clear()
	fns := slices.Clone(p.trust.onReset)
	p.trust.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

// OnReset registers a function that ResetPairing calls: whoever else keeps
// hosts for the phone forgets them then. It is called without locks.
func (p *Phone) OnReset(fn func()) {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	p.trust.onReset = append(p.trust.onReset, fn)
}

// TapTrust answers the dialog with Trust. Hosts that pair with lockdown hear of
// it through NoteRequestPair and ask once more. Without a dialog nothing
// happens.
func (p *Phone) TapTrust() { p.tapTrust(0) }

func (p *Phone) tapTrust(n int) {
	if p.tap(dialogAccepted, n) {
		p.Post(NoteRequestPair)
	}
}

// TapDeny answers the dialog with Don't Trust: the next Pair is refused, the
// one after it shows the dialog again.
func (p *Phone) TapDeny() { p.tap(dialogDenied, 0) }

// tap answers the nth dialog if it still shows, any when n is 0, and reports
// whether it was one of Pair.
func (p *Phone) tap(s dialogState, n int) bool {
	t := &p.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state != dialogPending, n != 0 && n != t.shown:
		return false
	case t.waiter == nil:
		t.state = s
		return true
	case s == dialogAccepted:
		t.tell(nil)
	default:
		t.tell(ErrUserDenied)
	}
	t.clear()
	return false
}

// ShownDialog returns the dialog that waits for an answer, if any.
func (p *Phone) ShownDialog() (Dialog, bool) {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	return p.trust.dialog, p.trust.state == dialogPending
}

// OnDialog sets a function that is called when the trust dialog appears, on
// the goroutine of Pair or AskTrust and without locks: it may tap.
func (p *Phone) OnDialog(fn func(Dialog)) {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	p.trust.onDialog = fn
}

// SetTrust changes the policy and closes the dialog that shows. Hosts that
// are trusted already stay so.
func (p *Phone) SetTrust(policy TrustPolicy) {
	p.trust.mu.Lock()
	defer p.trust.mu.Unlock()
	p.trust.policy = policy
	p.trust.clear()
}

// deviceKeys are the RSA keys of the phones of this process, by their serial
// numbers. Making one takes long, so a phone with a number beyond them has the key
// of an earlier one.
var deviceKeys [16]struct {
	once sync.Once
	key  *rsa.PrivateKey
}

// Key is the phone's own key. The first call takes as long as making an RSA key
// does.
func (p *Phone) Key() *rsa.PrivateKey {
	k := &deviceKeys[p.id.n%uint64(len(deviceKeys))]
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
func (p *Phone) PublicKeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY",
		Bytes: x509.MarshalPKCS1PublicKey(&p.Key().PublicKey)})
}
