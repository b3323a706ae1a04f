package coredevice

import (
	"context"
	"errors"
	"io/fs"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/phone/screen"
)

// platformOptions decodes the property list in the options.
func platformOptions(in *input) plist.Dict {
	if in.absent(keyPlatform) {
		return nil
	}
	b := need(in, keyPlatform, "Data", in.d.Data)
	if len(b) == 0 {
		return nil
	}
	d, err := plist.DecodeDict(b)
	if err != nil {
		in.wrong(keyPlatform, "property list")
	}
	return d
}

// background reads the option that keeps the current app in the foreground. The option
// has two names, and a host may send a number instead of a boolean.
func background(d plist.Dict) bool {
	for _, key := range []string{optionBackground, "__" + optionBackground} {
		if on, _ := d.Bool(key); on {
			return true
		}
		if n, _ := d.Int(key); n != 0 {
			return true
		}
	}
	return false
}

func launch(_ context.Context, s *session, in *input) (any, error) {
	spec := processes.LaunchSpec{BundleID: in.sub(keySpecifier).sub(keyBundleID).text("_0")}
	options := in.sub(keyOptions)
	spec.Args, spec.Env = options.texts(keyArguments), options.dictionary(keyEnvironment)
	spec.KillExisting, spec.Suspended = options.option(keyTerminate), options.option(keyStopped)
	spec.Background = background(platformOptions(options))
	a, err := s.dev.terminals.claim(s.phone, in)
	if err != nil {
		return nil, err
	}
	defer a.release()
	old, running := s.phone.Processes.OfApp(spec.BundleID)
	proc, err := s.phone.Processes.LaunchApp(spec)
	if err != nil {
		return nil, launchRefusal(spec.BundleID, err)
	}
	if !running || old.PID != proc.PID {
		a.attach(proc) // an app that already ran keeps its input and output
	}
	return xpc.Dict{{Key: keyProcessToken, Value: s.token(proc)}}, nil
}

// launchRefusal returns nested errors as the device sends them: the launch failed,
// FrontBoard denied it, and the reason.
func launchRefusal(bundleID string, err error) error {
	id := clip(bundleID)
	code, word, why := int64(1), "Unspecified", err.Error()
	var advice xpc.Dict
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code, word, why = openUnknown, "NotFound", "Application \""+id+"\" is unknown to FrontBoard"
		advice = xpc.Dict{
			{Key: "NSLocalizedRecoverySuggestion", Value: "Provide a valid bundle identifier."},
		}
	case errors.Is(err, screen.ErrPasswordProtected):
		code, word, why = openLocked, "Locked", "Unable to launch "+id+
			" because the device was not, or could not be, unlocked"
	}
	const errorWord = "BSErrorCodeDescription"
	inner := refuse(domainOpenApp, code, "The operation couldn’t be completed. "+why+".",
		xpc.Pair{Key: keyReason, Value: why}, xpc.Pair{Key: errorWord, Value: word})
	denied := refuse(domainOpenService, openDenied, "The request to open \""+id+"\" failed.",
		xpc.Pair{Key: keyReason,
			Value: "The request was denied by service delegate (SBMainWorkspace) for reason: " +
				word + " (\"" + why + "\")."},
		xpc.Pair{Key: errorWord, Value: "RequestDenied"}, because(inner))
	info := append(xpc.Dict{{Key: "BundleIdentifier", Value: id}}, advice...)
	return refuse(DomainCoreDevice, coreDeviceLaunchFailed, "The application failed to launch.",
		append(info, because(denied))...)
}

func spawn(_ context.Context, s *session, in *input) (any, error) {
	spec := processes.SpawnSpec{
		Path: pathOf(in.sub(keyExecutableAt).sub("url").sub("_0").text(keyRelative)),
	}
	options := in.sub(keyOptions)
	spec.Args, spec.Env = options.texts(keyArguments), options.dictionary(keyEnvironment)
	spec.Suspended = options.option(keyStopped)
	if !options.absent(keyUser) {
		spec.User, _ = options.sub(keyUser).d.String("shortName") // the default is the active user
	}
	platformOptions(options)
	a, err := s.dev.terminals.claim(s.phone, in)
	if err != nil {
		return nil, err
	}
	defer a.release()
	proc, err := s.phone.Processes.Spawn(spec)
	if err != nil {
		return nil, refused(err, posixENOENT)
	}
	a.attach(proc)
	return xpc.Dict{{Key: keyProcessToken, Value: s.token(proc)}}, nil
}
