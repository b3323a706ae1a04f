package installationproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"net"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/service"
)

// chunk is the number of apps in one message of a Browse answer.
const chunk = 20

// Keys whose values are computed only if a host asks for them by name.
const (
	keyStatic  = "StaticDiskUsage"
	keyDynamic = "DynamicDiskUsage"
)

// Device is the device side for a virtual device. One Device serves any number of
// connections. It refuses to install apps, like a phone whose configuration profile forbids
// that.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// Serve answers commands until the peer disconnects or ctx ends.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	conn := &link.PlistConn{Conn: c, Format: plist.Binary, Max: MaxRequest}
	log := d.Log("installationproxy")
	answer := func(req plist.Dict) (iter.Seq[plist.Dict], bool) {
		command, _ := req.String("Command")
		log.Debug("command", "command", link.Clip(command))
		return d.answers(command, req), false
	}
	return service.ServeRequests(ctx, conn, &errs, answer)
}

// answers yields the messages that answer a command.
func (d *Device) answers(command string, req plist.Dict) iter.Seq[plist.Dict] {
	var sel selection
	if command == cmdBrowse || command == cmdLookup {
		var problem plist.Dict
		sel, problem = newSelection(command, req)
		if problem != nil {
			return service.One(problem)
		}
	}
	switch command {
	case cmdBrowse:
		return d.browse(sel)
	case cmdLookup:
		return service.One(d.lookup(sel))
	case cmdCapabilities:
		return service.One(d.capabilities(req))
	case cmdLookupArchives: // devices archive no apps since iOS 7
		return service.One(complete(plist.Dict{}))
	case cmdInstall, cmdUpgrade:
		if path, _ := req.String("PackagePath"); path == "" {
			return service.One(failure(ErrMissingPackagePath, "The request has no PackagePath"))
		}
		return service.One(failure(ErrInstallProhibited,
			"Installing apps is not allowed on this device"))
	case cmdUninstall:
		id, _ := req.String("ApplicationIdentifier")
		if id == "" {
			return service.One(failure(ErrMissingApplicationIdentifier,
				"The request has no ApplicationIdentifier"))
		}
		return d.uninstall(id)
	case "":
		return service.One(failure(ErrMissingCommand, "The request has no Command"))
	}
	return service.One(failure(ErrUnknownCommand, fmt.Sprintf("%.64q is not a command", command)))
}

// failure returns an error message. It has both keys, because idevice detects failures
// only by ErrorDescription and the other clients by Error. It has no Status.
func failure(code service.Code, text string) plist.Dict {
	return plist.Dict{"Error": string(code), "ErrorDescription": text}
}

func complete(result any) plist.Dict {
	return plist.Dict{"LookupResult": result, "Status": statusComplete}
}

// uninstall removes an app and yields the progress. Devices report success for an app that they
// do not have.
func (d *Device) uninstall(bundleID string) iter.Seq[plist.Dict] {
	if err := d.Phone.Apps.Remove(bundleID); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return service.One(failure(ErrUninstallProhibited,
			fmt.Sprintf("Removing %.255q is not allowed on this device", bundleID)))
	}
	return slices.Values([]plist.Dict{
		{"Status": "RemovingApplication", "PercentComplete": uint64(50)},
		{"Status": "GeneratingApplicationMap", "PercentComplete": uint64(90)},
		{"Status": statusComplete},
	})
}

// browse yields the apps in several messages. The final message holds no apps, because
// tidevice stops before it reads the list of that message.
func (d *Device) browse(sel selection) iter.Seq[plist.Dict] {
	return func(yield func(plist.Dict) bool) {
		apps := sel.apps(d.Phone)
		for i := 0; i < len(apps); i += chunk {
			part := apps[i:min(i+chunk, len(apps))]
			list := make([]any, len(part))
			for k, a := range part {
				list[k] = sel.attributesOf(a)
			}
			m := plist.Dict{
				"Status": statusBrowsing, "Total": uint64(len(apps)),
				"CurrentIndex": uint64(i), "CurrentAmount": uint64(len(part)), "CurrentList": list,
			}
			if !yield(m) {
				return
			}
		}
		yield(plist.Dict{"Status": statusComplete})
	}
}

func (d *Device) lookup(sel selection) plist.Dict {
	found := plist.Dict{}
	for _, a := range sel.apps(d.Phone) {
		found[a.BundleID()] = sel.attributesOf(a)
	}
	return complete(found)
}

// selection holds the decoded ClientOptions.
type selection struct {
	kind     string   // ApplicationType
	ids      []string // nil means all
	keys     []string // nil means all but disk usage
	byLookup bool
}

func newSelection(command string, req plist.Dict) (selection, plist.Dict) {
	sel := selection{byLookup: command == cmdLookup}
	raw, given := req["ClientOptions"]
	if !given {
		return sel, nil
	}
	opts, ok := raw.(plist.Dict)
	if !ok {
		return sel, failure(ErrAPIInternalError, "ClientOptions is not a dictionary")
	}
	if v, given := opts["ApplicationType"]; given {
		sel.kind, ok = v.(string)
		if !ok {
			return sel, failure(ErrAPIInternalError, "ApplicationType is not a string")
		}
	}
	for _, f := range []struct {
		key string
		to  *[]string
	}{{"BundleIDs", &sel.ids}, {"ReturnAttributes", &sel.keys}} {
		v, given := opts[f.key]
		if !given {
			continue
		}
		*f.to, ok = stringList(v)
		if !ok {
			return sel, failure(ErrAPIInternalError, f.key+" is not an array of strings")
		}
	}
	return sel, nil
}

func stringList(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// apps returns the selected apps, sorted by bundle identifier.
func (s selection) apps(p *phone.Phone) []*apps.App {
	return slices.DeleteFunc(p.Apps.List(), func(a *apps.App) bool {
		if s.ids != nil && !slices.Contains(s.ids, a.BundleID()) {
			return true
		}
		switch s.kind {
		case Any:
			return false
		case "":
			// Hidden apps are included only if they are selected by type or by
			// identifier.
			return a.Type() == Hidden && !(s.byLookup && s.ids != nil)
		}
		return a.Type() != s.kind
	})
}

func (s selection) attributesOf(a *apps.App) plist.Dict {
	all := a.Attributes()
	delete(all, keyStatic)
	delete(all, keyDynamic)
	if s.keys == nil {
		return all
	}
	out := plist.Dict{}
	for _, key := range s.keys {
		switch key {
		case keyStatic:
			out[key], _ = a.DiskUsage()
		case keyDynamic:
			_, out[key] = a.DiskUsage()
		default:
			if v, ok := all[key]; ok {
				out[key] = v
			}
		}
	}
	return out
}

// capabilities compares the capabilities in the request with those of the phone.
// libimobiledevice sends an array of names and pymobiledevice3 a dictionary. The answer
// is one boolean, which idevice requires.
func (d *Device) capabilities(req plist.Dict) plist.Dict {
	raw, given := req["Capabilities"]
	if !given {
		opts, _ := req.Dict("ClientOptions")
		raw, given = opts["Capabilities"]
	}
	if !given {
		return failure(ErrMissingAttributeValue, "The request has no Capabilities")
	}
	want := map[string]bool{}
	if names, ok := stringList(raw); ok {
		for _, name := range names {
			want[name] = true
		}
	} else if set, ok := raw.(plist.Dict); ok {
		for name, v := range set {
			on, ok := v.(bool)
			if !ok {
				return failure(ErrAPIInternalError,
					"Capabilities holds a value that is not a boolean")
			}
			want[name] = on
		}
	} else {
		return failure(ErrAPIInternalError,
			"Capabilities is neither an array of strings nor a dictionary")
	}
	names := slices.Sorted(maps.Keys(want))
	has := d.Phone.Diagnostics.Gestalt(names)
	for _, name := range names {
		if on, _ := has.Bool(name); on != want[name] {
			return complete(false)
		}
	}
	return complete(true)
}
