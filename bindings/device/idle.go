package device

import "time"

// Idle is the option of transfers.
type Idle struct {
	Idle *time.Duration `lua:"idle_timeout" doc:"seconds without data" default:"30"`
}

// Limit returns the option as the protocol packages take it, where 0 is the
// default and less than 0 no limit.
func (i Idle) Limit() time.Duration {
	switch {
	case i.Idle == nil:
		return 0
	case *i.Idle == 0:
		return time.Nanosecond
	}
	return *i.Idle
}
