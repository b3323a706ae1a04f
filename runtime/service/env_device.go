package service

import (
	"log/slog"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
)

// Env holds what the device side of a service needs. A service that needs nothing else
// has a function NewDevice that takes an Env. The catalogue of the virtual device lists
// these functions.
type Env struct {
	Phone *phone.Phone
	// Logger receives each request at debug level. Its layer is the name of the package
	// of the service.
	Logger *slog.Logger
	// Heartbeat is the interval between the heartbeat messages of the device; 0 means
	// the default of the heartbeat service.
	Heartbeat time.Duration
}
