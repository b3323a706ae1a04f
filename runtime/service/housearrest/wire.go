// Package housearrest opens the containers of apps. The client sends one property list;
// after a successful answer the same connection speaks AFC.
//
//	-> {Command: "VendDocuments", Identifier: "com.example.app"}
//	<- {Status: "Complete"}
//	-> the first AFC packet
//
// If the device refuses, it closes the connection after the answer:
//
//	<- {Error: "ApplicationLookupFailed"}
//
// A frame is a u32 big-endian length and a property list, XML or binary. Since iOS 8.3
// VendContainer requires an app that is signed for development, and VendDocuments
// requires an app with UIFileSharingEnabled. VendDocuments does not change the root,
// but it confines the client to /Documents.
package housearrest

import (
	"io/fs"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is house_arrest.
var Service = service.Name{
	Lockdown: "com.apple.mobile.house_arrest",
	Remote:   "com.apple.mobile.house_arrest.shim.remote",
	Checkin:  true,
	Escrow:   true,
}

// Documents is the directory that VendDocuments makes accessible.
const Documents = "/Documents"

// The commands.
const (
	vendContainer = "VendContainer"
	vendDocuments = "VendDocuments"
)

// complete is the Status of a successful answer.
const complete = "Complete"

// maxFrame bounds the only frame that either side sends.
const maxFrame = 1 << 20

// request is the frame of the host. Keys that are absent are empty.
type request struct {
	Command    string `plist:"Command,omitempty"`
	Identifier string `plist:"Identifier,omitempty"`
}

// response is the frame of the device.
type response struct {
	Status string       `plist:"Status,omitempty"`
	Error  service.Code `plist:"Error,omitempty"`
}

// Error codes that devices send.
const (
	// NoSuchApp means that no app has the identifier.
	NoSuchApp service.Code = "ApplicationLookupFailed"
	// NotAllowed means that access to the container of the app is refused. Older
	// versions of iOS also send it for unknown identifiers.
	NotAllowed service.Code = "InstallationLookupFailed"

	missingCommand    service.Code = "MissingCommand"
	missingIdentifier service.Code = "MissingIdentifier"
	unknownCommand    service.Code = "UnknownCommand"
	permissionDenied  service.Code = "PermissionDenied"
)

var errs = service.Errors{
	Service: "housearrest",
	Codes: map[service.Code]error{
		NoSuchApp:        fs.ErrNotExist,
		NotAllowed:       fs.ErrPermission,
		permissionDenied: fs.ErrPermission,
	},
}

// errStatus is the cause if an answer reports neither success nor an error.
var errStatus = link.Malformed("unexpected answer")
