// Package installationproxy lists and looks up the apps of a device
// (com.apple.mobile.installation_proxy).
//
// Commands follow one another on a connection, one at a time. Browse answers
// in pieces, the others in one message:
//
//	-> {Command:"Browse", ClientOptions:{ApplicationType:"User"}}
//	<- {Status:"BrowsingApplications", Total:23, CurrentIndex:0, CurrentAmount:20, CurrentList:[{..} x 20]}
//	<- {Status:"BrowsingApplications", Total:23, CurrentIndex:20, CurrentAmount:3, CurrentList:[{..} x 3]}
//	<- {Status:"Complete"}
//	-> {Command:"Lookup", ClientOptions:{BundleIDs:["com.apple.Preferences"]}}
//	<- {LookupResult:{"com.apple.Preferences":{..}}, Status:"Complete"}
//	-> {Command:"Fly"}
//	<- {Error:"UnknownCommand", ErrorDescription:"..."}
//
// What an app occupies on the disk is only told when asked for by name.
package installationproxy

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the installation proxy.
var Service = service.Name{
	Lockdown: "com.apple.mobile.installation_proxy",
	Remote:   "com.apple.mobile.installation_proxy.shim.remote",
	Checkin:  true,
}

const (
	// MaxRequest bounds a request; an Install carries metadata and icons.
	MaxRequest = 16 << 20
	// MaxAnswer bounds one message of an answer.
	MaxAnswer = 64 << 20
	// MaxApps bounds a whole list of apps.
	MaxApps = 1 << 16
)

// Commands.
const (
	cmdBrowse         = "Browse"
	cmdLookup         = "Lookup"
	cmdCapabilities   = "CheckCapabilitiesMatch"
	cmdLookupArchives = "LookupArchives"
	cmdInstall        = "Install"
	cmdUpgrade        = "Upgrade"
	cmdUninstall      = "Uninstall"
)

const (
	statusBrowsing = "BrowsingApplications"
	statusComplete = "Complete"
)

// Application types.
const (
	User   = "User"
	System = "System"
	Hidden = "Hidden" // has no icon and appears only when asked for
	Any    = "Any"
)

// Code is the name of an error as devices send it. errors.Is finds it in an
// Error. Devices know some more than are named here.
type Code string

// Errors that devices send.
const (
	ErrUnknownCommand                Code = "UnknownCommand"
	ErrMissingCommand                Code = "MissingCommand"
	ErrAPIInternalError              Code = "APIInternalError"
	ErrLookupFailed                  Code = "LookupFailed"
	ErrNotEntitled                   Code = "NotEntitled"
	ErrMissingPackagePath            Code = "MissingPackagePath"
	ErrMissingApplicationIdentifier  Code = "MissingApplicationIdentifier"
	ErrMissingAttributeValue         Code = "MissingAttributeValue"
	ErrInstallProhibited             Code = "InstallProhibited"
	ErrUninstallProhibited           Code = "UninstallProhibited"
	ErrApplicationVerificationFailed Code = "ApplicationVerificationFailed"
	ErrPackageInspectionFailed       Code = "PackageInspectionFailed"
	ErrPackageExtractionFailed       Code = "PackageExtractionFailed"
)

// Error returns the name itself.
func (c Code) Error() string { return string(c) }

// Error is every failure of the package.
type Error struct {
	Op          string // "connect", "browse", "lookup", "check capabilities"
	Subject     string // what it was about
	Code        Code   // the device's error, when it refused
	Description string // the device's words
	Detail      int64  // the device's number, e.g. -402620395
	Err         error
}

func (e *Error) Error() string {
	s := "installationproxy: " + e.Op
	if e.Subject != "" {
		s += " " + strconv.Quote(e.Subject)
	}
	if e.Code != "" {
		s += ": " + string(e.Code)
	}
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.Detail != 0 {
		// The family is known by its unsigned form: 0xe8008015.
		s += " (0x" + strconv.FormatUint(uint64(uint32(e.Detail)), 16) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is finds the device's code and fs.ErrNotExist for an app that is not there.
func (e *Error) Is(target error) bool {
	if target == fs.ErrNotExist {
		return e.Err == ErrNoApp
	}
	c, ok := target.(Code)
	return ok && c == e.Code && c != ""
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrNoApp is the cause when the device has no such app.
	ErrNoApp = errors.New("no such app")
	// ErrProtocol is the cause when an answer does not have the expected form.
	ErrProtocol = link.Malformed("unexpected answer")
)

// App is an installed app. Fields that the answer did not hold (because
// Options.Attributes left them out) are empty.
type App struct {
	BundleID       string
	Name           string // display name, or the bundle's
	Version        string // CFBundleVersion, the build
	ShortVersion   string // CFBundleShortVersionString, what people know
	Type           string // User, System, Hidden
	Path           string // of the bundle on the device
	Container      string // data container
	Executable     string // name inside Path
	FileSharing    bool   // its documents may be opened by any host
	SignerIdentity string
	Attributes     plist.Dict // everything the device told
}

// decodeApp reads an entry of a list of apps.
func decodeApp(v any) (App, error) {
	d, ok := v.(plist.Dict)
	if !ok {
		return App{}, fmt.Errorf("%w: app is a %s", ErrProtocol, plist.TypeName(v))
	}
	return parseApp(d), nil
}

func parseApp(d plist.Dict) App {
	text := func(key string) string { s, _ := d.String(key); return s }
	a := App{
		BundleID: text("CFBundleIdentifier"), Name: text("CFBundleDisplayName"),
		Version: text("CFBundleVersion"), ShortVersion: text("CFBundleShortVersionString"),
		Type: text("ApplicationType"), Path: text("Path"), Container: text("Container"),
		Executable: text("CFBundleExecutable"), SignerIdentity: text("SignerIdentity"),
		Attributes: d,
	}
	if a.Name == "" {
		a.Name = text("CFBundleName")
	}
	// Info.plist authors write YES as a string now and then.
	switch v := d["UIFileSharingEnabled"].(type) {
	case bool:
		a.FileSharing = v
	case string:
		a.FileSharing = v == "YES" || v == "true"
	case int64:
		a.FileSharing = v != 0
	}
	return a
}

// Options selects apps and what is told of them.
type Options struct {
	// Type is User, System, Hidden or Any; "" = all but hidden ones.
	Type string
	// BundleIDs restricts to these apps; unknown ones are left out.
	BundleIDs []string
	// Attributes restricts what is told; nil = all but disk usage.
	Attributes []string
	// LaunchProhibited includes apps that the user may not start (Browse).
	LaunchProhibited bool
	// Placeholders includes apps that are still loading (Lookup).
	Placeholders bool
}

func (o Options) request(command string) plist.Dict {
	opts := plist.Dict{}
	if o.Type != "" {
		opts["ApplicationType"] = o.Type
	}
	if o.BundleIDs != nil {
		opts["BundleIDs"] = anyList(o.BundleIDs)
	}
	if o.Attributes != nil {
		opts["ReturnAttributes"] = anyList(o.Attributes)
	}
	if o.LaunchProhibited {
		opts["ShowLaunchProhibitedApps"] = true
	}
	if o.Placeholders {
		opts["ShowPlaceholders"] = true
	}
	return plist.Dict{"Command": command, "ClientOptions": opts}
}

func anyList(s []string) []any {
	out := make([]any, len(s))
	for i, v := range s {
		out[i] = v
	}
	return out
}
