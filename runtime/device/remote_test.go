package device

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestConsent checks that OnTrustDialog is called once a second while the dialog is
// shown, and not for a dialog that is answered at once.
func TestConsent(t *testing.T) {
	t.Parallel()
	for shown, want := range map[time.Duration]int{
		0: 0, time.Second / 2: 0, 2500 * time.Millisecond: 2,
	} {
		synctest.Test(t, func(t *testing.T) {
			told := 0
			f := NewFinder(Options{OnTrustDialog: func(Info) { told++ }})
			closed := f.Device(Info{UDID: "a"}).consent()
			time.Sleep(shown)
			closed()
			time.Sleep(time.Minute)
			synctest.Wait()
			if told != want {
				t.Errorf("a dialog of %v: told %d times, want %d", shown, told, want)
			}
		})
	}
	NewFinder(Options{}).Device(Info{UDID: "a"}).consent()()
}
