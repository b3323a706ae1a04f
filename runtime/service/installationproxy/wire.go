// Package installationproxy lists and looks up the apps of a device
// (com.apple.mobile.installation_proxy).
//
// A connection serves any number of commands, one at a time. The answer to Browse
// consists of several messages, the answers to other commands of one:
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
// The device reports the disk usage of an app only if the request asks for it by name.
package installationproxy

import (
	"fmt"
	"io/fs"

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
	// MaxRequest bounds the size of a request. An Install request carries metadata and
	// icons.
	MaxRequest = 16 << 20
	// MaxAnswer bounds the size of one message of an answer.
	MaxAnswer = 64 << 20
	// MaxApps bounds the number of apps in an answer.
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
	Hidden = "Hidden" // apps without an icon, which are listed only on request
	Any    = "Any"
)

// Error codes that devices send. Devices send more codes than those named here.
const (
	ErrUnknownCommand                service.Code = "UnknownCommand"
	ErrMissingCommand                service.Code = "MissingCommand"
	ErrAPIInternalError              service.Code = "APIInternalError"
	ErrLookupFailed                  service.Code = "LookupFailed"
	ErrNotEntitled                   service.Code = "NotEntitled"
	ErrMissingPackagePath            service.Code = "MissingPackagePath"
	ErrMissingApplicationIdentifier  service.Code = "MissingApplicationIdentifier"
	ErrMissingAttributeValue         service.Code = "MissingAttributeValue"
	ErrInstallProhibited             service.Code = "InstallProhibited"
	ErrUninstallProhibited           service.Code = "UninstallProhibited"
	ErrApplicationVerificationFailed service.Code = "ApplicationVerificationFailed"
	ErrPackageInspectionFailed       service.Code = "PackageInspectionFailed"
	ErrPackageExtractionFailed       service.Code = "PackageExtractionFailed"
)

var errs = service.Errors{Service: "installationproxy"}

var (
	// ErrNoApp is the cause if the device does not have the app. It matches
	// fs.ErrNotExist.
	ErrNoApp = link.Cause("no such app", fs.ErrNotExist)
	// ErrProtocol is the cause if an answer does not have the expected form.
	ErrProtocol = link.Malformed("unexpected answer")
)

// App is an installed app. A field is empty if the answer does not hold its attribute,
// for example because Options.Attributes excludes it.
type App struct {
	BundleID       string
	Name           string // display name, or else the name of the bundle
	Version        string // CFBundleVersion, the build number
	ShortVersion   string // CFBundleShortVersionString, the version that users see
	Type           string // User, System, Hidden
	Path           string // path of the bundle on the device
	Container      string // path of the data container
	Executable     string // file name inside Path
	FileSharing    bool   // any host may open the documents of the app
	SignerIdentity string
	Attributes     plist.Dict // all attributes that the device sent
}

// decodeApp decodes an entry of a list of apps.
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
	// Some apps have a string such as YES in Info.plist.
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

// Options selects the apps and their attributes.
type Options struct {
	// Type is User, System, Hidden or Any; "" means all apps except hidden ones.
	Type string
	// BundleIDs restricts the result to these apps. Unknown identifiers are ignored.
	BundleIDs []string
	// Attributes restricts the attributes in the result; nil means all but disk usage.
	Attributes []string
	// LaunchProhibited includes apps that the user may not start (Browse only).
	LaunchProhibited bool
	// Placeholders includes apps whose installation is not complete (Lookup only).
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
