package coredevice

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// filterKeys are the keys of the filter with the version of iOS that introduced them. A
// device requires all keys of its version.
var filterKeys = []struct {
	key   string
	since int
}{
	{keyAppClips, 0}, {keyRemovable, 0}, {keyHidden, 0}, {keyInternal, 0}, {keyDefault, 0},
	{keyWithContainer, 2600}, {keyGroups, 2600}, {keyContainers, 2600},
}

func listApps(_ context.Context, s *session, in *input) (any, error) {
	list, err := installedApps(s, in)
	return list, err
}

// installedApps lists the apps that an input selects.
func installedApps(s *session, in *input) ([]any, error) {
	on := map[string]bool{}
	for _, k := range filterKeys {
		if k.since <= s.dev.version() {
			on[k.key] = in.flag(k.key)
		}
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	list := []any{}
	for _, a := range s.phone.Apps.List() {
		if wanted(a, on) {
			list = append(list, encodeApp(a, on, s.phone.Apps.Removable(a)))
		}
	}
	return list, nil
}

// wanted reports whether a filter selects an app. It always selects apps that are
// signed for development.
func wanted(a *apps.App, on map[string]bool) bool {
	switch {
	case on[keyWithContainer] && !a.Developer():
		return false
	case a.Developer():
		return true
	case a.Type() == apps.Hidden:
		return on[keyHidden]
	case a.Type() == apps.System:
		return on[keyDefault]
	}
	return on[keyRemovable]
}

// encodeApp encodes an app with all keys that idevice requires.
func encodeApp(a *apps.App, on map[string]bool, removable bool) xpc.Dict {
	attributes := a.Attributes()
	text := func(key string) string { s, _ := attributes.String(key); return s }
	clip, _ := attributes.Bool("IsAppClip")
	d := xpc.Dict{
		{Key: keyBundleID, Value: a.BundleID()},
		{Key: "bundleVersion", Value: text("CFBundleVersion")},
		{Key: "isAppClip", Value: clip},
		{Key: "isDefault", Value: a.Type() != apps.User},
		{Key: "isDeveloperApp", Value: a.Developer()},
		{Key: "isFirstParty", Value: strings.HasPrefix(a.BundleID(), "com.apple.")},
		{Key: "isHidden", Value: a.Type() == apps.Hidden},
		{Key: "isInternal", Value: false}, // only Apple's own devices have internal apps
		{Key: "isRemovable", Value: removable},
		{Key: "name", Value: text("CFBundleDisplayName")},
		{Key: "path", Value: a.Path()},
		{Key: "version", Value: text("CFBundleShortVersionString")},
	}
	if on[keyContainers] {
		d = append(d, xpc.Pair{Key: "appDataContainerPath", Value: a.ContainerPath()})
	}
	if on[keyGroups] {
		groups := []any{}
		entitlements, _ := attributes.Dict("Entitlements")
		list, _ := entitlements.Array("com.apple.security.application-groups")
		groups = append(groups, list...)
		d = append(d, xpc.Pair{Key: "appGroupIdentifiers", Value: groups})
	}
	return d
}

// token encodes a process. go-ios requires an executable URL and an int64 process
// identifier for every process, including the kernel.
func (s *session) token(p processes.Process) xpc.Dict {
	audit := s.phone.Processes.AuditToken(p)
	list := make([]any, len(audit))
	for i, n := range audit {
		list[i] = uint64(n)
	}
	return xpc.Dict{
		{Key: keyPID, Value: int64(p.PID)},
		{Key: keyExecutable, Value: xpc.Dict{{Key: keyRelative, Value: urlOf(p.Path)}}},
		{Key: keyPIDVersion, Value: int64(audit[7])},
		{Key: keyAuditToken, Value: list},
	}
}

func runningProcesses(s *session, _ *input) ([]any, error) {
	list := []any{}
	for _, p := range s.phone.Processes.List() {
		list = append(list, s.token(p))
	}
	return list, nil
}

func listProcesses(_ context.Context, s *session, in *input) (any, error) {
	list, err := runningProcesses(s, in)
	return xpc.Dict{{Key: keyProcessTokens, Value: list}}, err
}

// posix returns a refusal with an errno value.
func posix(code int64) *Error {
	text := map[int64]string{posixEPERM: "Operation not permitted",
		posixENOENT: "No such file or directory", posixESRCH: "No such process",
		posixEACCES: "Permission denied", posixEINVAL: "Invalid argument",
		posixEAGAIN: "Resource temporarily unavailable"}[code]
	return refuse(DomainPOSIX, code, "The operation couldn’t be completed. "+text)
}

// refused converts an error of the phone to a refusal. missing is the errno value for
// an object that does not exist.
func refused(err error, missing int64) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return posix(missing)
	case errors.Is(err, fs.ErrPermission) && missing == posixENOENT:
		return posix(posixEACCES)
	case errors.Is(err, fs.ErrPermission):
		return posix(posixEPERM)
	case errors.Is(err, files.ErrInvalid):
		return posix(posixEINVAL)
	case errors.Is(err, files.ErrBusy):
		return posix(posixEAGAIN)
	}
	return err
}

func signal(_ context.Context, s *session, in *input) (any, error) {
	pid, number := in.pid(keyProcess), in.number(keySignal)
	if err := in.err(); err != nil {
		return nil, err
	}
	if number < 0 || number > 31 {
		return nil, posix(posixEINVAL)
	}
	proc, _ := s.phone.Processes.Find(pid) // before the signal may end it
	if err := s.phone.Processes.Signal(pid, int(number)); err != nil {
		return nil, refused(err, posixESRCH)
	}
	return xpc.Dict{
		{Key: keyProcess, Value: s.token(proc)},
		{Key: keyTimestamp, Value: s.phone.Clock.Now().UTC()},
		{Key: keySignal, Value: number},
	}, nil
}

func warnMemory(_ context.Context, s *session, in *input) (any, error) {
	pid := in.pid(keyProcess)
	if err := in.err(); err != nil {
		return nil, err
	}
	return nil, refused(s.phone.Processes.WarnMemory(pid), posixESRCH)
}

// awaitEnd answers when the process has ended.
func awaitEnd(ctx context.Context, s *session, in *input) (any, error) {
	pid := in.pid(keyProcessToken)
	if err := in.err(); err != nil {
		return nil, err
	}
	w := s.phone.Processes.Watch()
	defer w.Close()
	proc, ok := s.phone.Processes.Find(pid)
	if !ok {
		return nil, posix(posixESRCH)
	}
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return nil, err
		}
		if e.Kind == processes.Ended && e.Process.PID == pid {
			return xpc.Dict{{Key: keyProcessToken, Value: s.token(proc)},
				{Key: keyEnding, Value: xpc.Dict{
					{Key: keySignal, Value: xpc.Dict{{Key: "_0", Value: int64(e.Signal)}}},
				}}}, nil
		}
	}
}

func uninstall(_ context.Context, s *session, in *input) (any, error) {
	id := in.text(keyBundleID)
	if err := in.err(); err != nil {
		return nil, err
	}
	var why *Error
	switch err := s.phone.Apps.Remove(id); {
	case err == nil:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		why = refuse(DomainOSStatus, osStatusUnknownApp,
			"The application \""+clip(id)+"\" is not installed.")
	case errors.Is(err, fs.ErrPermission):
		why = refuse(DomainPOSIX, posixEPERM,
			"Removing the application \""+clip(id)+"\" is not allowed.")
	default:
		return nil, err
	}
	return nil, refuse(DomainAction, actionFailed, "Failed to uninstall the app on the device.",
		because(why))
}

// listRoots refuses the request, because only Apple's own builds of iOS support it.
func listRoots(_ context.Context, _ *session, in *input) (any, error) {
	in.sub("rootPoint").text(keyRelative)
	if err := in.err(); err != nil {
		return nil, err
	}
	return nil, refuse(DomainAction, actionGated, "Roots are not available on this device.")
}

// reboot restarts the phone when the connection has ended. The userspace style also
// ends all connections.
func reboot(_ context.Context, s *session, in *input) (any, error) {
	style := in.sub("rebootStyle")
	if style.absent(string(RebootFull)) && style.absent(string(RebootUserspace)) {
		style.missing(string(RebootFull))
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	s.restart = true
	return nil, nil
}
