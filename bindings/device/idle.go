package device

import "time"

// Idle is the option idle_timeout of transfers.
type Idle struct {
	Idle *time.Duration `lua:"idle_timeout" doc:"seconds without data" default:"30"`
}

// Limit returns the option in the form that the protocol packages take: 0 means the
// default, and a negative value means no limit. The option's value 0 becomes one
// nanosecond, so that it is not taken for the default.
func (i Idle) Limit() time.Duration {
	switch {
	case i.Idle == nil:
		return 0
	case *i.Idle == 0:
		return time.Nanosecond
	}
	return *i.Idle
}
