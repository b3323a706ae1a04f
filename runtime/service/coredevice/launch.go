package coredevice

import (
	"context"
	"maps"
	"slices"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// Keys of a launch request.
const (
	keySpecifier    = "applicationSpecifier" // {bundleIdentifier: {_0: string}}
	keyOptions      = "options"
	keyArguments    = "arguments"
	keyEnvironment  = "environmentVariables"
	keyTerminals    = "standardIOUsesPseudoterminals"
	keyStopped      = "startStopped"
	keyTerminate    = "terminateExisting"
	keyUser         = "user"
	keyPlatform     = "platformSpecificOptions" // a property list
	keyStandardIO   = "standardIOIdentifiers"
	keyStandardIn   = "standardInput"
	keyStandardOut  = "standardOutput"
	keyStandardErr  = "standardError"
	keyExecutableAt = "executableItem" // {url: {_0: {relative: path}}}

	// optionBackground is a key of platformSpecificOptions. It keeps the current app in
	// the foreground.
	optionBackground = "ActivateSuspended"
)

// LaunchOptions says how to start an app or executable.
type LaunchOptions struct {
	Args []string
	Env  map[string]string
	// Suspended stops the process before its first instruction until it receives
	// SIGCONT.
	Suspended bool
	// TerminateExisting ends a running instance of the app first. Without it a running
	// app comes to the foreground, and the other options have no effect.
	TerminateExisting bool
	// Background keeps the app that is in the foreground there.
	Background bool
	// Terminal is connected to the standard input and output of the app.
	Terminal *Terminal
	// Platform is sent unchanged. For example, __PayloadURL opens a link.
	Platform plist.Dict
}

// encode encodes the options and the identifiers of standard input and output.
func (o *LaunchOptions) encode(app bool) (options, standardIO xpc.Dict, err error) {
	args := []any{}
	for _, a := range o.Args {
		args = append(args, a)
	}
	env := xpc.Dict{}
	for _, k := range slices.Sorted(maps.Keys(o.Env)) {
		env = append(env, xpc.Pair{Key: k, Value: o.Env[k]})
	}
	platform := o.Platform
	if o.Background {
		platform = platform.Clone()
		if platform == nil {
			platform = plist.Dict{}
		}
		platform[optionBackground] = true
	}
	if platform == nil {
		platform = plist.Dict{}
	}
	packed, err := plist.Encode(platform, plist.Binary)
	if err != nil {
		return nil, nil, err
	}
	options = xpc.Dict{
		{Key: keyArguments, Value: args},
		{Key: keyEnvironment, Value: env},
		{Key: keyTerminals, Value: true},
		{Key: keyStopped, Value: o.Suspended},
		{Key: keyUser, Value: xpc.Dict{{Key: "active", Value: true}}},
		{Key: keyPlatform, Value: packed},
	}
	if app {
		options = append(options, xpc.Pair{Key: keyTerminate, Value: o.TerminateExisting})
	}
	standardIO = xpc.Dict{}
	if o.Terminal != nil {
		for _, k := range []string{keyStandardIn, keyStandardOut, keyStandardErr} {
			standardIO = append(standardIO, xpc.Pair{Key: k, Value: o.Terminal.ID})
		}
	}
	return options, standardIO, nil
}

// Launch starts an app, or brings it to the foreground if it runs. The error matches
// fs.ErrNotExist if the app is not installed, and ErrLocked if the device is locked.
func (a *Apps) Launch(ctx context.Context, bundleID string, o LaunchOptions) (*Process, error) {
	options, standardIO, err := o.encode(true)
	if err != nil {
		return nil, failed(featLaunch, bundleID, err)
	}
	out, err := a.dict(ctx, featLaunch, xpc.Dict{
		{
			Key:   keySpecifier,
			Value: xpc.Dict{{Key: keyBundleID, Value: xpc.Dict{{Key: "_0", Value: bundleID}}}},
		},
		{Key: keyOptions, Value: options},
		{Key: keyStandardIO, Value: standardIO},
	}, bundleID)
	if err != nil {
		return nil, err
	}
	return tokenOf(featLaunch, bundleID, out, keyProcessToken)
}

// Spawn starts the executable at a path of the device. Only the options Args, Env,
// Suspended, Terminal and Platform have an effect.
func (a *Apps) Spawn(ctx context.Context, file string, o LaunchOptions) (*Process, error) {
	options, standardIO, err := o.encode(false)
	if err != nil {
		return nil, failed(featSpawn, file, err)
	}
	out, err := a.dict(ctx, featSpawn, xpc.Dict{
		{Key: keyExecutableAt, Value: xpc.Dict{{
			Key:   "url",
			Value: xpc.Dict{{Key: "_0", Value: xpc.Dict{{Key: keyRelative, Value: file}}}},
		}}},
		{Key: keyStandardIO, Value: standardIO},
		{Key: keyOptions, Value: options},
	}, file)
	if err != nil {
		return nil, err
	}
	return tokenOf(featSpawn, file, out, keyProcessToken)
}
