package phone

import (
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// springBoard is the process of the home screen.
const springBoard = "SpringBoard"

const (
	// homeStays is how long the home screen stays after a change that makes it restart.
	homeStays = 500 * time.Millisecond
	// homeStarts is how long the home screen takes to start.
	homeStarts = 2 * time.Second
)

// home is the state of the home screen.
type home struct {
	mu         sync.Mutex
	restarting bool // a restart has begun
	boot       int  // number of boots, so that a restart ends with its boot
}

// restartHome restarts the home screen. It returns at once: SpringBoard ends after homeStays
// and is back after another homeStarts. A change during a restart causes no further one.
func (p *Phone) restartHome() {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if p.home.restarting {
		return
	}
	p.home.restarting = true
	boot := p.home.boot
	p.Clock.AfterFunc(homeStays, func() { p.endHome(boot) })
}

// endHome ends SpringBoard, and starts it again after homeStarts.
func (p *Phone) endHome(boot int) {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if p.home.boot != boot {
		return
	}
	p.Processes.StopDaemon(springBoard)
	p.Clock.AfterFunc(homeStarts, func() { p.startHome(boot) })
}

// startHome starts SpringBoard if it does not run, and says that the home screen is up.
func (p *Phone) startHome(boot int) {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	if p.home.boot != boot {
		return
	}
	p.home.restarting = false
	p.Processes.StartDaemon(springBoard)
	p.Log.Writef(springBoard, "com.apple.SpringBoard", "Common", "SpringBoard finished startup")
	p.Notifications.Post(notifications.Startup)
}

// bootHome lets the home screen start after a boot. Hosts can reach the phone after d.
func (p *Phone) bootHome(d time.Duration) {
	p.home.mu.Lock()
	defer p.home.mu.Unlock()
	p.home.boot++
	p.home.restarting = true
	boot := p.home.boot
	p.Clock.AfterFunc(d+homeStarts, func() { p.startHome(boot) })
}
