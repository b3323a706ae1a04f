package phone

// Access says who may do what with a lockdown value.
type Access struct {
	// Public values are readable by a host that is not paired.
	Public bool
	// Writable values may be set with a session.
	Writable bool
	// WritableUnpaired values may be set without one.
	WritableUnpaired bool
}

// valueKey names a lockdown value; domain "" is the default domain.
type valueKey struct{ domain, key string }
