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

// Errors that devices send. They know some more than are named here.
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
	// ErrNoApp is the cause when the device has no such app. It is fs.ErrNotExist.
	ErrNoApp = link.Cause("no such app", fs.ErrNotExist)
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
