// Package housearrest opens the containers of apps: a plist exchange, after
// which the same connection speaks AFC.
//
//	-> {Command: "VendDocuments", Identifier: "com.example.app"}
//	<- {Status: "Complete"}
//	-> the first AFC packet
//
// or, and then the device closes the connection,
//
//	<- {Error: "ApplicationLookupFailed"}
//
// Frames are a u32 big-endian length and a property list, XML or binary. Since
// iOS 8.3 VendContainer is for apps signed for development and VendDocuments
// for apps with UIFileSharingEnabled; the latter leaves the root where it was
// and confines the client to /Documents.
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

// Documents is the directory that VendDocuments gives access to.
const Documents = "/Documents"

// The commands.
const (
	vendContainer = "VendContainer"
	vendDocuments = "VendDocuments"
)

// complete is the Status of success.
const complete = "Complete"

// maxFrame bounds either side's only frame.
const maxFrame = 1 << 20

// request is the host's frame. Absent keys are empty.
type request struct {
	Command    string `plist:"Command,omitempty"`
	Identifier string `plist:"Identifier,omitempty"`
}

// response is the device's frame.
type response struct {
	Status string       `plist:"Status,omitempty"`
	Error  service.Code `plist:"Error,omitempty"`
}

// Errors that devices answer.
const (
	// NoSuchApp means that no app has the identifier.
	NoSuchApp service.Code = "ApplicationLookupFailed"
	// NotAllowed means that the app does not give its container away; older
	// systems say it of unknown identifiers as well.
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

// errStatus is an answer that is neither success nor failure.
var errStatus = link.Malformed("unexpected answer")
