package processes

const (
	FirstPID     = firstPID
	MaxPID       = maxPID
	MaxProcesses = maxProcesses
	MaxHeld      = maxHeld
	WatchQueue   = watchQueue
)

// SetLastPID sets the PID that was assigned last.
func (p *Processes) SetLastPID(pid int) { p.table.last = pid }

// Emit sends an event to the watches.
func (p *Processes) Emit(e Event) {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	p.runs.emit(e)
}

// Watches counts the watches that are open.
func (p *Processes) Watches() int { return len(p.runs.watches) }

// DaemonUsers lists the users of the daemons.
func DaemonUsers() []string {
	out := make([]string, len(daemons))
	for i, d := range daemons {
		out[i] = d.user
	}
	return out
}
