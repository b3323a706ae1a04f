// Package notificationproxy posts and observes the Darwin notifications of a
// device (com.apple.mobile.notification_proxy): an app was installed, the
// device was renamed, the home screen is up.
//
// Nothing is acknowledged but the end:
//
//	-> {Command:"ObserveNotification", Name:"com.apple.mobile.application_installed"}
//	-> {Command:"PostNotification", Name:"org.example.hello"}
//	<- {Command:"RelayNotification", Name:"com.apple.mobile.application_installed"}
//	-> {Command:"Shutdown"}
//	<- {Command:"ProxyDeath"}
//
// A post reaches every observer of its name, the poster's own connection
// included. The insecure variant starts before pairing and knows only the
// names of lockdown.
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

// Insecure is the notification proxy that needs no pairing.
var Insecure = service.Name{
	Lockdown: "com.apple.mobile.insecure_notification_proxy",
	Remote:   "com.apple.mobile.insecure_notification_proxy.shim.remote",
	Checkin:  true,
}

const (
	// MaxMessage bounds a message: a command and a name.
	MaxMessage = 64 << 10
	// MaxName bounds the name of a notification.
	MaxName = 1024
	// MaxNames bounds how many names one connection may observe.
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

// message is every message of this protocol.
type message struct {
	Command string `plist:"Command"`
	Name    string `plist:"Name,omitempty"`
}

var errs = service.Errors{Service: "notificationproxy"}

var (
	// ErrProxyDeath is the cause when the device has said that the service
	// ends. It is io.EOF.
	ErrProxyDeath = link.Cause("the device ended the service", io.EOF)
	// ErrOverflow is the cause when more notifications arrived than anybody
	// fetched; the connection is closed then.
	ErrOverflow = errors.New("too many notifications nobody asked for")
	// ErrName is the cause for a name that is empty or longer than MaxName.
	ErrName = errors.New("invalid name")
	// ErrProtocol is the cause when the device sends what is not a message of
	// this protocol.
	ErrProtocol = link.Malformed("unexpected message")
)

func checkName(name string) error {
	if name == "" || len(name) > MaxName {
		return ErrName
	}
	return nil
}
