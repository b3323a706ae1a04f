package trust

import (
	"context"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// Ask shows the trust dialog and waits for the user, as remote pairing
// does; lockdown's Pair comes back again and again instead. It returns nil when
// the host is trusted. The causes of failure are ErrUserDenied, ErrDialogClosed, that of
// Options.CheckUnlocked and that of ctx, which ends the dialog.
//
// The dialog is that of Pair: the policy answers it, ShownDialog and OnDialog
// show it, TapTrust and TapDeny answer it. One shows at a time; it takes the
// place of a dialog of Pair and waits for one of Ask.
func (t *Trust) Ask(ctx context.Context, d Dialog) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return failure.Wrap("ask", d.HostName, context.Cause(ctx))
	}
	if err := t.o.CheckUnlocked(); err != nil {
		return failure.Wrap("ask", d.HostName, err)
	}
	answer := make(chan error, 1)
	t.mu.Lock()
	if t.policy.Mode == Accept {
		t.mu.Unlock()
		return nil
	}
	t.clear()
	denied := t.policy.Mode == Deny
	show := t.show(d)
	t.waiter = answer
	t.mu.Unlock()
	if show != nil {
		show(d)
	}
	if denied {
		t.closeAsked(answer, ErrUserDenied)
	}
	select {
	case err := <-answer:
		return failure.Wrap("ask", d.HostName, err)
	case <-ctx.Done():
	}
	t.closeAsked(answer, context.Cause(ctx))
	return failure.Wrap("ask", d.HostName, <-answer)
}

// closeAsked takes the dialog of an Ask off the screen with that answer,
// unless it was answered before.
func (t *Trust) closeAsked(answer chan error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiter == answer {
		t.tell(err)
		t.clear()
	}
}
