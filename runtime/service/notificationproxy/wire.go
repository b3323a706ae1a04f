// Package notificationproxy posts and observes the Darwin notifications of a device
// (com.apple.mobile.notification_proxy). Such a notification tells, for example, that
// an app was installed, that the device was renamed, or that the home screen is
// visible.
//
// The device acknowledges only Shutdown:
//
//	-> {Command:"ObserveNotification", Name:"com.apple.mobile.application_installed"}
//	-> {Command:"PostNotification", Name:"org.example.hello"}
//	<- {Command:"RelayNotification", Name:"com.apple.mobile.application_installed"}
//	-> {Command:"Shutdown"}
//	<- {Command:"ProxyDeath"}
//
// A notification reaches every connection that observes its name, including the
// connection that posted it. The insecure variant is available before pairing and
// relays only the notifications of lockdown.
package notificationproxy

import (
	"errors"
	"io"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the notification proxy.
var Service = service.Name{
	Lockdown: "com.apple.mobile.notification_proxy",
	Remote:   "com.apple.mobile.notification_proxy.shim.remote",
	Checkin:  true,
}

// Insecure is the variant of the notification proxy that does not need pairing.
var Insecure = service.Name{
	Lockdown: "com.apple.mobile.insecure_notification_proxy",
	Remote:   "com.apple.mobile.insecure_notification_proxy.shim.remote",
	Checkin:  true,
}

const (
	// MaxMessage bounds the size of a message, which holds a command and a name.
	MaxMessage = 64 << 10
	// MaxName bounds the length of the name of a notification.
	MaxName = 1024
	// MaxNames bounds the number of names that one connection may observe.
	MaxNames = 4096
)

// Commands.
const (
	cmdPost     = "PostNotification"
	cmdObserve  = "ObserveNotification"
	cmdShutdown = "Shutdown"
	cmdRelay    = "RelayNotification"
	cmdDeath    = "ProxyDeath"
)

// message holds the keys of all messages of the protocol.
type message struct {
	Command string `plist:"Command"`
	Name    string `plist:"Name,omitempty"`
}

var errs = service.Errors{Service: "notificationproxy"}

var (
	// ErrProxyDeath is the cause if the device has announced the end of the service. It
	// matches io.EOF.
	ErrProxyDeath = link.Cause("the device ended the service", io.EOF)
	// ErrName is the cause if a name is empty or longer than MaxName.
	ErrName = errors.New("invalid name")
	// ErrProtocol is the cause if the device sends an unexpected message.
	ErrProtocol = link.Malformed("unexpected message")
)

func checkName(name string) error {
	if name == "" || len(name) > MaxName {
		return ErrName
	}
	return nil
}
