package power_test

import (
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/power"
)

func TestPower(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	id := p.Clock.BootID()
	p.Power.Do(power.Restart)
	if p.Clock.BootID() == id {
		t.Error("a restart without a machine did not boot")
	}
	var got []string
	p.Power.OnAction(nil)
	p.Power.OnAction(func(a power.Action) { got = append(got, "one "+a.String()) })
	p.Power.OnAction(func(a power.Action) { got = append(got, "two "+a.String()) })
	id = p.Clock.BootID()
	p.Screen.SetPasscode(true)
	p.Power.Do(power.Restart)
	p.Power.Do(power.Shutdown)
	if p.Screen.Locked() {
		t.Error("locked before Sleep")
	}
	p.Power.Do(power.Sleep)
	if !p.Screen.Locked() {
		t.Error("not locked by Sleep")
	}
	want := "one restart,two restart,one shutdown,two shutdown,one sleep,two sleep"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("calls %s, want %s", s, want)
	} else if p.Clock.BootID() != id {
		t.Error("an action with handlers booted the phone")
	}
	if s := power.Action(9).String(); s != "Action(9)" {
		t.Errorf("String = %s", s)
	}
}
