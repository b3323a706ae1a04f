package service

import (
	"log/slog"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
)

// Env is what the device side of a service is made from. Each service that needs
// nothing else has a function NewDevice, which the catalogue of the virtual device
// names.
type Env struct {
	Phone *phone.Phone
	// Logger gets each request at debug level, under the layer that is the name of
	// the service's package.
	Logger *slog.Logger
	// Heartbeat is how often the device wants to hear from hosts that keep it awake;
	// 0 is the device's own default.
	Heartbeat time.Duration
}
