package trust

import (
	"context"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// Ask shows the trust dialog and waits for the answer of the user. Remote pairing
// uses it; Pair of lockdown does not wait. Ask returns nil if the user trusts the
// host. The causes of failure are ErrUserDenied, ErrDialogClosed, that of
// Options.CheckUnlocked and that of ctx, whose end closes the dialog.
//
// The policy, ShownDialog, OnDialog, TapTrust and TapDeny apply to the dialog as
// they do to that of Pair. Only one dialog is shown at a time. The dialog of Ask
// replaces one of Pair, and waits until another one of Ask has ended.
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

// closeAsked closes the dialog of an Ask and answers it with err, unless it was
// answered before.
func (t *Trust) closeAsked(answer chan error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiter == answer {
		t.tell(err)
		t.clear()
	}
}
