package dvt

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// TestSharedBudget has two hosts that each begin a message. Together the messages
// exceed the budget of the device. The second connection ends, and its part of the
// budget is released.
func TestSharedBudget(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		dev := &Device{Phone: r.phone, Budget: link.NewBudget(1 << 20)}
		message := dtx.Append(nil,
			&dtx.Message{ID: 1, Type: dtx.Data, Payload: make([]byte, 700_000)})
		begin := func() (net.Conn, <-chan error) {
			host, served := servicetest.Dial(context.Background(), servicetest.Prompt(t), dev)
			_, _ = host.Write(message[:len(message)-1])
			synctest.Wait()
			return host, served
		}
		first, firstServed := begin()
		if n := dev.Budget.Used(); n < 700_000 {
			t.Errorf("%d bytes are counted for the first message", n)
		}
		second, secondServed := begin()
		var own *Error
		err := <-secondServed
		if !errors.Is(err, dtx.ErrTooLarge) {
			t.Errorf("second Serve: %v, want %v", err, dtx.ErrTooLarge)
		}
		if !errors.As(err, &own) {
			t.Errorf("second Serve: %#v is not a %T", err, own)
		}
		second.Close()
		first.Close()
		<-firstServed
		if n := dev.Budget.Used(); n != 0 {
			t.Errorf("%d bytes are not given back", n)
		}
	})
}
