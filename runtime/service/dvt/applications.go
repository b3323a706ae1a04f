package dvt

import (
	"context"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
)

const selListApps = "installedApplicationsMatching:registerUpdateToken:"

// Application is an app or plug-in in the list of Instruments.
type Application struct {
	BundleID, DisplayName, BundlePath, Executable string
	Type                                          string // "User", "System" or "PluginKit"
	Version                                       string
	Restricted                                    bool
	Raw                                           nskeyed.Dict // the whole entry
}

// Applications lists apps and plug-ins. A filter selects those that have the given
// values; nil selects all.
func (s *Session) Applications(ctx context.Context, filter nskeyed.Dict) ([]Application, error) {
	if filter == nil {
		filter = nskeyed.Dict{}
	}
	q := question{
		op: "list applications", identifier: ChannelApplications, selector: selListApps,
		args: []any{filter, ""},
	}
	return askList(ctx, s, q, parseApplication)
}

func parseApplication(d nskeyed.Dict) (Application, error) {
	a := Application{Raw: d}
	a.BundleID, _ = d.String("CFBundleIdentifier")
	a.DisplayName, _ = d.String("DisplayName")
	a.BundlePath, _ = d.String("BundlePath")
	a.Executable, _ = d.String("ExecutableName")
	a.Type, _ = d.String("Type")
	a.Version, _ = d.String("Version")
	n, _ := d.Int("Restricted")
	flag, _ := d.Bool("Restricted")
	a.Restricted = n != 0 || flag
	return a, nil
}
