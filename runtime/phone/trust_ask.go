package phone

import "context"

// AskTrust shows the trust dialog and waits for the user, as remote pairing
// does; lockdown's Pair comes back again and again instead. It returns nil when
// the host is trusted. The causes of failure are ErrUserDenied,
// ErrPasswordProtected, ErrDialogClosed and that of ctx, which ends the dialog.
//
// The dialog is that of Pair: the policy answers it, ShownDialog and OnDialog
// show it, TapTrust and TapDeny answer it. One shows at a time; it takes the
// place of a dialog of Pair and waits for one of AskTrust.
func (p *Phone) AskTrust(ctx context.Context, d Dialog) error {
	t := &p.trust
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return fail("ask", d.HostName, context.Cause(ctx))
	}
	if p.Locked() {
		return fail("ask", d.HostName, ErrPasswordProtected)
	}
	answer := make(chan error, 1)
	t.mu.Lock()
	if t.policy.Mode == TrustAccept {
		t.mu.Unlock()
		return nil
	}
	t.clear()
	denied := t.policy.Mode == TrustDeny
	show := t.show(p, d)
	t.waiter = answer
	t.mu.Unlock()
	if show != nil {
		show(d)
	}
	if denied {
		p.closeAsked(answer, ErrUserDenied)
	}
	select {
	case err := <-answer:
		return fail("ask", d.HostName, err)
	case <-ctx.Done():
	}
	p.closeAsked(answer, context.Cause(ctx))
	return fail("ask", d.HostName, <-answer)
}

// closeAsked takes the dialog of an AskTrust off the screen with that answer,
// unless it was answered before.
func (p *Phone) closeAsked(answer chan error, err error) {
	t := &p.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiter == answer {
		t.tell(err)
		t.clear()
	}
}
