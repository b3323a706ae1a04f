// Package trust has the hosts that the phone trusts, and the dialog in which its user
// decides about a new one.
package trust

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// Mode is how the user reacts to the trust dialog.
type Mode int

// The trust modes.
const (
	// Accept trusts every host at once, without a dialog.
	Accept Mode = iota
	// After shows the dialog and taps Trust after Policy.After.
	After
	// Deny shows the dialog and taps Don't Trust.
	Deny
	// Ignore shows the dialog and does nothing.
	Ignore
	// Ask shows the dialog until TapTrust or TapDeny is called.
	Ask
)

// Policy is how the user answers the trust dialog.
type Policy struct {
	Mode Mode
	// After is the time after which the user taps in the mode After. With 0 the user
	// taps at once, but the first Pair still returns ErrDialogPending.
	After time.Duration
}

// Host is a computer that the phone trusts.
type Host struct {
	HostID, SystemBUID, Label string
	// The certificates are PEM, exactly as the host sent them.
	HostCertificate, RootCertificate, DeviceCertificate []byte
	// EscrowBag is 32 random bytes, made at the first pairing of HostID.
	EscrowBag []byte
}

// PairRequest is the request of a host to be trusted.
type PairRequest struct {
	HostID, SystemBUID, Label, HostName                 string
	HostCertificate, RootCertificate, DeviceCertificate []byte
}

// Dialog is the trust dialog as the user sees it. SystemBUID is "" in a dialog of
// remote pairing.
type Dialog struct{ SystemBUID, Label, HostName string }

// Limits of what the phone keeps of hosts that pair.
const (
	maxHosts       = 256      // trusted hosts
	maxHostID      = 256      // bytes of HostID and of SystemBUID
	maxCertificate = 64 << 10 // bytes of a certificate
	maxLabel       = 256      // bytes of Label and HostName; longer ones are cut
)

// dialogState says whether the dialog is shown and how it was answered.
type dialogState int

const (
	dialogNone dialogState = iota
	dialogPending
	dialogAccepted
	dialogDenied
)

// Causes of failure in pairing.
var (
	// ErrDialogPending means that the user has not answered the trust dialog yet.
	ErrDialogPending = errors.New("trust dialog is showing")
	// ErrDialogClosed means that the dialog was closed without an answer: the phone
	// was locked or restarted, or its policy was changed.
	ErrDialogClosed = errors.New("trust dialog was closed")
	// ErrUserDenied means that the user chose not to trust.
	ErrUserDenied = errors.New("user denied pairing")
	// ErrTooManyHosts means that the phone cannot trust any more hosts.
	ErrTooManyHosts = errors.New("too many trusted hosts")
	// ErrInvalidPairRecord means that the identifiers or certificates of a pair
	// record are missing, cannot be read, or belong to another device.
	ErrInvalidPairRecord = errors.New("invalid pair record")
)

// Options of Trust.
type Options struct {
	Identity      *identity.Identity
	Log           *log.Log
	Notifications *notifications.Center
	// CheckUnlocked returns an error if the phone is locked and so shows no dialog.
	CheckUnlocked func() error
	// Policy is how the user answers the dialog.
	Policy Policy
}

// Trust holds the trusted hosts and the dialog. The phone trusts a SystemBUID, not
// a HostID, because hosts such as idevicepair use a new HostID and new certificates
// at each attempt. All methods may be called concurrently.
type Trust struct {
	o Options

	mu       sync.Mutex
	policy   Policy
	hosts    map[string]Host
	nth      map[string]int // order in which the hosts were stored, by HostID
	stored   int            // number of times that a host was stored
	dialog   Dialog
	state    dialogState
	timer    *time.Timer
	shown    int // number of dialogs so far
	onDialog func(Dialog)
	onReset  []func()

	turn   chan struct{} // holds a token while an Ask shows its dialog
	waiter chan error    // where the Ask whose dialog shows gets its answer
}

// New returns the Trust of a new phone, which trusts no host.
func New(o Options) *Trust {
	return &Trust{o: o, policy: o.Policy, turn: make(chan struct{}, 1)}
}

// Pair asks the phone to trust a host. The causes of failure are
// ErrInvalidPairRecord, ErrDialogPending, ErrTooManyHosts, ErrUserDenied and that of
// Options.CheckUnlocked. A host that gets ErrDialogPending calls Pair again until
// the user has answered. Pair does not check the expiry dates and signatures of the
// certificates, because those of real hosts are often wrong.
func (t *Trust) Pair(r PairRequest) (Host, error) {
	r.Label, r.HostName = cutText(r.Label), cutText(r.HostName)
	if err := t.checkPair(r); err != nil {
		return Host{}, failure.Wrap("pair", r.HostID, err)
	}
	if err := t.o.CheckUnlocked(); err != nil {
		return Host{}, failure.Wrap("pair", r.HostID, err)
	}
	t.mu.Lock()
	var show func(Dialog)
	err := t.answer(r, &show)
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
		return Host{}, failure.Wrap("pair", r.HostID, err)
	}
	t.o.Log.Writef("lockdownd", "com.apple.mobile.lockdown", "pairing",
		"Host %s (%s) is now trusted",
		r.HostID, r.Label)
	return host, nil
}

func (t *Trust) checkPair(r PairRequest) error {
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
	if err != nil || !t.Key().PublicKey.Equal(dev.PublicKey) {
		return ErrInvalidPairRecord
	}
	return nil
}

// parseCertificate parses a certificate in PEM or DER. A client may send either.
func parseCertificate(b []byte) (*x509.Certificate, error) {
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	return x509.ParseCertificate(b)
}

// answer returns nil if the host may be stored now, or else the reason why not. It
// shows a new dialog if need be, and then sets show to the function to call after mu
// is released. The caller holds mu.
func (t *Trust) answer(r PairRequest, show *func(Dialog)) error {
	same := t.dialog.SystemBUID == r.SystemBUID
	switch {
	case t.policy.Mode == Accept, t.knows(r.SystemBUID):
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
		return ErrDialogPending // this dialog is shown after the other one was answered
	}
	// The new dialog replaces a dialog of another host.
	t.clear()
	*show = t.show(Dialog{SystemBUID: r.SystemBUID, Label: r.Label, HostName: r.HostName})
	return ErrDialogPending
}

// show shows a dialog and lets the user react as the policy says. The caller holds
// mu. If the function that is returned is not nil, the caller calls it after it has
// released mu.
func (t *Trust) show(d Dialog) func(Dialog) {
	t.dialog, t.state = d, dialogPending
	t.shown++
	n := t.shown
	switch t.policy.Mode {
	case After:
		t.timer = time.AfterFunc(t.policy.After, func() { t.tapTrust(n) })
	case Deny:
		t.state = dialogDenied
	}
	return t.onDialog
}

func (t *Trust) knows(buid string) bool {
	for _, h := range t.hosts {
		if h.SystemBUID == buid {
			return true
		}
	}
	return false
}

// Dismiss closes the dialog that is shown, as locking and restarting do.
func (t *Trust) Dismiss() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == dialogPending {
		t.clear()
	}
}

// clear closes the dialog, whatever its state. The caller holds mu.
func (t *Trust) clear() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.dialog, t.state = Dialog{}, dialogNone
	t.tell(ErrDialogClosed)
}

// tell sends an answer to the Ask that waits, if there is one.
func (t *Trust) tell(err error) {
	if t.waiter != nil {
		t.waiter <- err // does not block: it has room for one answer
		t.waiter = nil
	}
}

func cutText(s string) string {
	if len(s) > maxLabel {
		s = strings.ToValidUTF8(s[:maxLabel], "")
	}
	return s
}

// makeRoom makes room for the record of a host that pairs. If there is none, it removes the
// oldest record with the same SystemBUID, because libimobiledevice, go-ios and tidevice
// send a new HostID with each Pair request.
func (t *Trust) makeRoom(r PairRequest) error {
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

func (t *Trust) forget(hostID string) {
	delete(t.hosts, hostID)
	delete(t.nth, hostID)
}

func (t *Trust) store(r PairRequest) (Host, error) {
	if err := t.makeRoom(r); err != nil {
		return Host{}, err
	}
	h := Host{HostID: r.HostID, SystemBUID: r.SystemBUID, Label: r.Label,
		HostCertificate:   slices.Clone(r.HostCertificate),
		RootCertificate:   slices.Clone(r.RootCertificate),
		DeviceCertificate: slices.Clone(r.DeviceCertificate),
		EscrowBag:         t.hosts[r.HostID].EscrowBag}
	if h.EscrowBag == nil {
		h.EscrowBag = make([]byte, 32)
		_, _ = rand.Read(h.EscrowBag) // crypto/rand never fails, it ends the process
	}
	if t.hosts == nil {
		t.hosts, t.nth = map[string]Host{}, map[string]int{}
	}
	t.stored++
	t.hosts[r.HostID], t.nth[r.HostID] = h, t.stored
	return h, nil
}

// Host returns a trusted host.
func (t *Trust) Host(hostID string) (Host, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.hosts[hostID]
	return h, ok
}

// Hosts lists the trusted hosts, sorted by HostID.
func (t *Trust) Hosts() []Host {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.hosts), func(a, b Host) int {
		return strings.Compare(a.HostID, b.HostID)
	})
}

// Unpair removes a trusted host. The dialog is shown again for a SystemBUID when its
// last HostID was removed. The error is fs.ErrNotExist for an unknown host.
func (t *Trust) Unpair(hostID string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.hosts[hostID]; !ok {
		return failure.Wrap("unpair", hostID, fs.ErrNotExist)
	}
	t.forget(hostID)
	return nil
}

// Reset removes all trusted hosts and closes the dialog, as "Reset Location &
// Privacy" does.
func (t *Trust) Reset() {
	t.mu.Lock()
	t.hosts, t.nth = nil, nil
	t.clear()
	fns := slices.Clone(t.onReset)
	t.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

// OnReset registers a function that Reset calls, without locks. It is for other
// packages that keep trusted hosts of the phone and must remove them.
func (t *Trust) OnReset(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onReset = append(t.onReset, fn)
}

// TapTrust answers the dialog with Trust. If it is a dialog of Pair, it posts
// notifications.RequestPair, upon which hosts call Pair again. It does nothing if no
// dialog is shown.
func (t *Trust) TapTrust() { t.tapTrust(0) }

func (t *Trust) tapTrust(n int) {
	if t.tap(dialogAccepted, n) {
		t.o.Notifications.Post(notifications.RequestPair)
	}
}

// TapDeny answers the dialog with Don't Trust. The next Pair is refused, and the one
// after it shows the dialog again.
func (t *Trust) TapDeny() { t.tap(dialogDenied, 0) }

// tap answers the dialog with the number n if it is still shown, or any dialog if n
// is 0. It reports whether it has answered a dialog of Pair.
func (t *Trust) tap(s dialogState, n int) bool {
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

// ShownDialog returns the dialog that waits for an answer, if there is one.
func (t *Trust) ShownDialog() (Dialog, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dialog, t.state == dialogPending
}

// OnDialog sets a function that is called when the trust dialog is shown. It is
// called on the goroutine of Pair or Ask, without locks, so it may call TapTrust
// and TapDeny.
func (t *Trust) OnDialog(fn func(Dialog)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onDialog = fn
}

// SetPolicy changes the policy and closes the dialog that is shown. It does not
// change the trusted hosts.
func (t *Trust) SetPolicy(policy Policy) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.policy = policy
	t.clear()
}
