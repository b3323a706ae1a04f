package lockdown

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/screen"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/phone/values"
)

// getValue answers with one value or a whole domain. A host without a session gets only
// what is public.
func (s *deviceConn) getValue(r *request, reply plist.Dict) error {
	if r.key == "" {
		d, err := s.domain(r.domain)
		if err != nil {
			return err
		}
		reply["Value"] = d
		return nil
	}
	v, ok := s.Phone.Values.Get(r.domain, r.key)
	if !ok {
		return ErrMissingValue
	}
	if !s.trusted() && !s.Phone.Values.Access(r.domain, r.key).Public {
		return ErrGetProhibited
	}
	reply["Value"] = v
	return nil
}

// domain returns a domain, which is empty if the phone does not have it.
func (s *deviceConn) domain(name string) (plist.Dict, error) {
	switch {
	case s.trusted():
		return s.Phone.Values.Domain(name), nil
	case name == "":
		return s.Phone.Values.PublicDomain(), nil
	}
	all := s.Phone.Values.Domain(name)
	d := plist.Dict{}
	for k, v := range all {
		if s.Phone.Values.Access(name, k).Public {
			d[k] = v
		}
	}
	if len(d) == 0 && len(all) > 0 {
		return nil, ErrGetProhibited
	}
	return d, nil
}

func (s *deviceConn) setValue(r *request, reply plist.Dict) error {
	switch {
	case r.key == "":
		return ErrMissingKey
	case r.value == nil:
		return ErrMissingValue
	case !s.trusted() && !s.Phone.Values.Access(r.domain, r.key).WritableUnpaired:
		return ErrSetProhibited
	}
	follow, err := s.Phone.Values.Write(r.domain, r.key, r.value)
	if err != nil {
		if errors.Is(err, values.ErrImmutable) {
			return ErrImmutableValue
		}
		return ErrSetProhibited // there is no code for a value of the wrong type
	}
	s.follow = follow
	reply["Value"] = r.value
	return nil
}

func (s *deviceConn) removeValue(r *request) error {
	if r.key == "" {
		return ErrMissingKey
	}
	follow, err := s.Phone.Values.Erase(r.domain, r.key)
	switch {
	case err == nil:
		s.follow = follow
		return nil
	case errors.Is(err, values.ErrMissing):
		return ErrMissingValue
	}
	return ErrRemoveProhibited
}

// publicServices may be started without a session. A program that waits for the Trust
// dialog gets its notifications from such a service.
var publicServices = map[string]bool{"com.apple.mobile.insecure_notification_proxy": true}

func (s *deviceConn) startService(ctx context.Context, r *request, reply plist.Dict) error {
	switch {
	case r.service == "":
		return ErrMissingService
	case !s.trusted() && !publicServices[r.service]:
		return ErrSessionInactive
	case s.Start == nil:
		return ErrInvalidService
	}
	if err := s.checkBag(r.escrow); err != nil {
		return err
	}
	var host *trust.Host
	if s.host != nil {
		h := *s.host
		host = &h
	}
	e, err := s.Start(ctx, r.service, host, r.escrow)
	if err != nil {
		if ctx.Err() == nil && !errors.As(err, new(Code)) {
			s.log.Warn("service did not start", "service", r.service, "err", err)
			return ErrCheckinSetupFailed
		}
		return err
	}
	reply["Port"] = int64(e.Port)
	if e.TLS {
		reply["EnableServiceSSL"] = true
	}
	return nil
}

// checkBag refuses an escrow bag that does not open a locked phone. Before the first
// unlock after a restart none does. Start decides which services require a bag. A phone
// that is not locked ignores it.
func (s *deviceConn) checkBag(bag []byte) error {
	if s.host == nil || len(bag) == 0 || !s.Phone.Screen.Locked() {
		return nil
	}
	if !s.Phone.Screen.UnlockedSinceBoot() ||
		subtle.ConstantTimeCompare(bag, s.host.EscrowBag) != 1 {
		return ErrEscrowLocked
	}
	return nil
}

func (s *deviceConn) pair(r *request, reply plist.Dict) error {
	if s.Network {
		return ErrPairingProhibitedOverThisConnection
	}
	if r.record == nil {
		return ErrMissingPairRecord
	}
	p := trust.PairRequest{Label: r.label, HostName: r.hostName}
	p.HostID, _ = r.record.String("HostID")
	p.SystemBUID, _ = r.record.String("SystemBUID")
	p.HostCertificate, _ = r.record.Data("HostCertificate")
	p.RootCertificate, _ = r.record.Data("RootCertificate")
	p.DeviceCertificate, _ = r.record.Data("DeviceCertificate")
	host, err := s.Phone.Trust.Pair(p)
	switch {
	case err == nil:
		reply["EscrowBag"] = host.EscrowBag
		return nil
	case errors.Is(err, trust.ErrDialogPending):
		return ErrPairingDialogResponsePending
	case errors.Is(err, trust.ErrUserDenied):
		return ErrUserDeniedPairing
	case errors.Is(err, screen.ErrPasswordProtected):
		return ErrPasswordProtected
	case errors.Is(err, trust.ErrInvalidPairRecord):
		return ErrInvalidPairRecord
	}
	return ErrSavePairRecordFailed
}

// validatePair reports whether a host is trusted with exactly these certificates. Hosts
// send the request to old systems only.
func (s *deviceConn) validatePair(r *request) error {
	if r.record == nil {
		return ErrMissingPairRecord
	}
	id, _ := r.record.String("HostID")
	host, ok := s.Phone.Trust.Host(id)
	if !ok {
		return ErrInvalidHostID
	}
	for key, want := range map[string][]byte{
		"HostCertificate":   host.HostCertificate,
		"RootCertificate":   host.RootCertificate,
		"DeviceCertificate": host.DeviceCertificate,
	} {
		if _, there := r.record[key]; !there {
			continue
		}
		if got, _ := r.record.Data(key); !bytes.Equal(certificateDER(got), certificateDER(want)) {
			return ErrInvalidPairRecord
		}
	}
	if s.Phone.Screen.Locked() {
		return ErrPasswordProtected
	}
	return nil
}

// unpair needs no session, so that a host that has lost its keys can be removed.
func (s *deviceConn) unpair(r *request) error {
	if r.record == nil {
		return ErrMissingPairRecord
	}
	id, _ := r.record.String("HostID")
	if err := s.Phone.Trust.Unpair(id); err != nil {
		return ErrInvalidHostID
	}
	return nil
}
