package coredevice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Features of the app service.
const (
	featListApps      = "listapps"
	featStreamApps    = "streamapplist"
	featLaunch        = "launchapplication"
	featListProcesses = "listprocesses"
	featStreamProcess = "streamprocesslist"
	featSignal        = "sendsignaltoprocess"
	featSpawn         = "spawnexecutable"
	featMonitor       = "monitorprocesstermination"
	featUninstall     = "uninstallapp"
	featReboot        = "rebootdevice"
	featListRoots     = "listroots"
	featMemoryWarning = "sendmemorywarningtoprocess"
)

// Keys of apps and processes.
const (
	keyBundleID      = "bundleIdentifier"
	keyPID           = "processIdentifier"
	keyPIDVersion    = "processIdentifierVersion"
	keyExecutable    = "executableURL"
	keyRelative      = "relative"
	keyAuditToken    = "auditToken"
	keyProcess       = "process"
	keyProcessToken  = "processToken"
	keyProcessTokens = "processTokens"
	keySignal        = "signal"
	keyTimestamp     = "deviceTimestamp"
	keyEnding        = "terminationReason"
)

// Apps is the app service of one device.
type Apps struct{ *Conn }

// ConnectApps opens the app service on a device.
func ConnectApps(ctx context.Context, o service.Opener) (*Apps, error) {
	c, err := Connect(ctx, o, AppService)
	if err != nil {
		return nil, err
	}
	return &Apps{c}, nil
}

// App is an installed app, as far as the device tells.
type App struct {
	BundleID  string
	Name      string
	Version   string // CFBundleShortVersionString
	Build     string // CFBundleVersion
	Path      string // of the bundle
	Removable bool
	// FirstParty is Apple's, Developer is signed for development, Default is
	// one that a device comes with.
	FirstParty, Developer, Internal, Hidden, AppClip, Default bool
	// Container and Groups are there if they were asked for.
	Container string   // path of the data container
	Groups    []string // identifiers
	Raw       xpc.Dict
}

// AppFilter chooses apps. Apps that are signed for development are always among
// them; the zero value chooses no others.
type AppFilter struct {
	AppClips, Removable, Hidden, Internal, Default bool
	// OnlyWithContainer leaves out apps whose container a developer may not
	// see. Containers and Groups ask for App.Container and App.Groups. Devices
	// know them since iOS 26.
	OnlyWithContainer, Containers, Groups bool
}

// AllApps chooses all apps.
var AllApps = AppFilter{
	AppClips: true, Removable: true, Hidden: true, Internal: true, Default: true,
}

// Keys of the filter. Since iOS 26 a device insists on the last three; before it
// does not look at them.
func (f AppFilter) input() xpc.Dict {
	return xpc.Dict{
		{Key: keyAppClips, Value: f.AppClips},
		{Key: keyRemovable, Value: f.Removable},
		{Key: keyHidden, Value: f.Hidden},
		{Key: keyInternal, Value: f.Internal},
		{Key: keyDefault, Value: f.Default},
		{Key: keyWithContainer, Value: f.OnlyWithContainer},
		{Key: keyGroups, Value: f.Groups},
		{Key: keyContainers, Value: f.Containers},
	}
}

const (
	keyAppClips      = "includeAppClips"
	keyRemovable     = "includeRemovableApps"
	keyHidden        = "includeHiddenApps"
	keyInternal      = "includeInternalApps"
	keyDefault       = "includeDefaultApps"
	keyWithContainer = "requireContainerAccess"
	keyGroups        = "includeAppGroupIdentifiers"
	keyContainers    = "includeContainerPaths"
)

// List lists apps on any version of iOS: as a stream, or in one piece where the
// device has no stream.
func (a *Apps) List(ctx context.Context, f AppFilter) ([]App, error) {
	ctx, cancel := bounded(ctx, invokeTimeout)
	defer cancel()
	list, err := a.StreamList(ctx, f)
	if errors.Is(err, errors.ErrUnsupported) {
		return a.ListOnce(ctx, f)
	}
	return list, err
}

// ListOnce lists apps in one reply. Devices with iOS 26 and later, which have a
// stream for it, never answer.
func (a *Apps) ListOnce(ctx context.Context, f AppFilter) ([]App, error) {
	v, err := a.Invoke(ctx, featListApps, f.input())
	if err != nil {
		return nil, err
	}
	return parseList(ctx, featListApps, v, parseApp)
}

// StreamList lists apps as a stream; before iOS 26 it is errors.ErrUnsupported.
func (a *Apps) StreamList(ctx context.Context, f AppFilter) ([]App, error) {
	return streamed(ctx, a.Conn, featStreamApps, f.input(), parseApp)
}

// streamed collects what a stream gives. Elements that cannot be decoded are passed over.
func streamed[T any](
	ctx context.Context, c *Conn, feature string, input xpc.Dict, parse func(xpc.Dict) (T, error),
) ([]T, error) {
	list := []T{}
	err := c.Stream(ctx, feature, input, func(elements []any) error {
		for _, e := range elements {
			v, err := parseElement(feature, e, parse)
			if err != nil {
				c.pass(&Invocation{Feature: feature}, err)
				link.PassOver(ctx, err)
				continue
			}
			list = append(list, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// parseList returns the elements of an array. Those that cannot be decoded are left out,
// see link.PassOver.
func parseList[T any](
	ctx context.Context, op string, v any, parse func(xpc.Dict) (T, error),
) ([]T, error) {
	elements, ok := v.([]any)
	if !ok {
		return nil, failed(op, "", fmt.Errorf("%w: %T in place of a list", ErrProtocol, v))
	}
	return link.DecodeList(ctx, elements, func(e any) (T, error) {
		return parseElement(op, e, parse)
	})
}

// parseElement reads an element of a list.
func parseElement[T any](op string, v any, parse func(xpc.Dict) (T, error)) (T, error) {
	var zero T
	d, ok := v.(xpc.Dict)
	if !ok {
		return zero, failed(op, "", fmt.Errorf("%w: list holds a %T", ErrProtocol, v))
	}
	t, err := parse(d)
	if err != nil {
		return zero, failed(op, "", err)
	}
	return t, nil
}

func parseApp(d xpc.Dict) (App, error) {
	text := func(key string) string { s, _ := d.String(key); return s }
	flag := func(key string) bool { v, _ := d.Bool(key); return v }
	a := App{
		BundleID: text(keyBundleID), Name: text("name"), Version: text("version"),
		Build: text("bundleVersion"), Path: pathOf(text("path")),
		Removable: flag("isRemovable"), FirstParty: flag("isFirstParty"),
		Developer: flag("isDeveloperApp"), Internal: flag("isInternal"),
		Hidden: flag("isHidden"), AppClip: flag("isAppClip"), Default: flag("isDefault"),
		Container: pathOf(text("appDataContainerPath")), Raw: d,
	}
	groups, _ := d.Array("appGroupIdentifiers")
	for _, g := range groups {
		if s, ok := g.(string); ok {
			a.Groups = append(a.Groups, s)
		}
	}
	if a.BundleID == "" {
		return App{}, fmt.Errorf("%w: app without a bundle identifier", ErrProtocol)
	}
	return a, nil
}

// pathOf turns a file URL into a path and leaves a path as it is.
func pathOf(s string) string {
	if !strings.HasPrefix(s, "file:") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Path
}

// urlOf is the URL of a path.
func urlOf(file string) string { return (&url.URL{Scheme: "file", Path: file}).String() }

// Process is a running process.
type Process struct {
	PID int
	// Version tells processes with the same PID apart.
	Version    int64
	Path       string // of the executable; "" if the device does not tell
	AuditToken []uint32
	Raw        xpc.Dict
}

// Name is the short name of the executable.
func (p *Process) Name() string {
	if p.Path == "" {
		return ""
	}
	return path.Base(p.Path)
}

func parseProcess(d xpc.Dict) (Process, error) {
	pid, ok := d.Int(keyPID)
	if !ok || pid != int64(int32(pid)) {
		return Process{}, fmt.Errorf("%w: process without a PID", ErrProtocol)
	}
	p := Process{PID: int(pid), Raw: d}
	p.Version, _ = d.Int(keyPIDVersion)
	location, _ := d.Dict(keyExecutable)
	text, _ := location.String(keyRelative)
	p.Path = pathOf(text)
	token, _ := d.Array(keyAuditToken)
	for i := range token {
		if n, ok := (xpc.Dict{{Value: token[i]}}).Int(""); ok {
			p.AuditToken = append(p.AuditToken, uint32(n))
		}
	}
	return p, nil
}

// tokenOf takes the process out of an output.
func tokenOf(op, subject string, out xpc.Dict, key string) (*Process, error) {
	d, ok := out.Dict(key)
	if !ok {
		return nil, failed(op, subject, fmt.Errorf("%w: no %s", ErrProtocol, key))
	}
	p, err := parseProcess(d)
	if err != nil {
		return nil, failed(op, subject, err)
	}
	return &p, nil
}

// Processes lists the running processes.
func (a *Apps) Processes(ctx context.Context) ([]Process, error) {
	out, err := a.dict(ctx, featListProcesses, xpc.Dict{}, "")
	if err != nil {
		return nil, err
	}
	v, _ := out.Get(keyProcessTokens)
	return parseList(ctx, featListProcesses, v, parseProcess)
}

// StreamProcesses is Processes as a stream; before iOS 26 it is
// errors.ErrUnsupported.
func (a *Apps) StreamProcesses(ctx context.Context) ([]Process, error) {
	return streamed(ctx, a.Conn, featStreamProcess, xpc.Dict{}, parseProcess)
}

// processInput names a process in an input.
func processInput(key string, pid int) xpc.Pair {
	return xpc.Pair{Key: key, Value: xpc.Dict{{Key: keyPID, Value: int64(pid)}}}
}

// Signalled is the answer to a signal.
type Signalled struct {
	Process Process
	Signal  int
	Time    time.Time // on the device's clock
}

// Signal sends a signal, as iOS numbers them, to a process. One that is not there
// is fs.ErrNotExist.
func (a *Apps) Signal(ctx context.Context, pid, signal int) (*Signalled, error) {
	subject := strconv.Itoa(pid)
	out, err := a.dict(ctx, featSignal,
		xpc.Dict{processInput(keyProcess, pid), {Key: keySignal, Value: int64(signal)}}, subject)
	if err != nil {
		return nil, err
	}
	s := &Signalled{Process: Process{PID: pid}, Signal: signal}
	if d, ok := out.Dict(keyProcess); ok {
		if p, err := parseProcess(d); err == nil {
			s.Process = p
		}
	}
	if n, ok := out.Int(keySignal); ok {
		s.Signal = int(n)
	}
	s.Time, _ = out.Time(keyTimestamp)
	return s, nil
}

// WarnMemory tells a process that memory is short.
func (a *Apps) WarnMemory(ctx context.Context, pid int) error {
	_, err := a.invoke(ctx, &Invocation{
		Feature: FeaturePrefix + featMemoryWarning, Input: xpc.Dict{processInput(keyProcess, pid)},
	}, strconv.Itoa(pid))
	return err
}

// Ending is how a process ended.
type Ending struct {
	Process Process
	// Signal ended it, 0 if the device tells of none.
	Signal int
	Raw    xpc.Dict
}

// AwaitEnd waits, as long as ctx lets it, until a process ends. Meanwhile the
// connection does nothing else. One that is not there is fs.ErrNotExist.
func (a *Apps) AwaitEnd(ctx context.Context, pid int) (*Ending, error) {
	subject := strconv.Itoa(pid)
	i := &Invocation{
		Feature: FeaturePrefix + featMonitor, Input: xpc.Dict{processInput(keyProcessToken, pid)},
	}
	v, err := a.exchange(ctx, i, subject, func(any) {})
	if err != nil {
		return nil, err
	}
	out, _ := v.(xpc.Dict)
	e := &Ending{Process: Process{PID: pid}, Raw: out}
	if d, ok := out.Dict(keyProcessToken); ok {
		if p, err := parseProcess(d); err == nil {
			e.Process = p
		}
	}
	reason, _ := out.Path(keyEnding, keySignal)
	d, _ := reason.(xpc.Dict)
	n, _ := d.Int("_0")
	e.Signal = int(n)
	return e, nil
}

// Uninstall removes an app and its data. One that is not there is fs.ErrNotExist,
// one that came with iOS fs.ErrPermission.
func (a *Apps) Uninstall(ctx context.Context, bundleID string) error {
	i := &Invocation{
		Feature: FeaturePrefix + featUninstall,
		Input:   xpc.Dict{{Key: keyBundleID, Value: bundleID}},
	}
	_, err := a.invoke(ctx, i, bundleID)
	return err
}

// Roots describes the roots, replaced parts of the system, below a path. Devices
// with a customer's iOS refuse it.
func (a *Apps) Roots(ctx context.Context, below string) (xpc.Dict, error) {
	return a.dict(ctx, featListRoots,
		xpc.Dict{{Key: "rootPoint", Value: xpc.Dict{{Key: keyRelative, Value: below}}}}, below)
}

// RebootStyle says how much of the device starts anew.
type RebootStyle string

// The styles.
const (
	RebootFull      RebootStyle = "full"
	RebootUserspace RebootStyle = "userspace"
)

// Reboot restarts the device. It returns when the device agrees or is gone, which
// also ten seconds of silence mean.
func (a *Apps) Reboot(ctx context.Context, style RebootStyle) error {
	ctx, cancel := bounded(ctx, invokeTimeout)
	defer cancel()
	if err := a.take(ctx); err != nil {
		return failed(featReboot, "", err)
	}
	defer func() { <-a.turn }()
	if err := a.x.Err(); err != nil {
		return failed(featReboot, "", err)
	}
	wait, stop := context.WithTimeout(ctx, rebootTimeout)
	defer stop()
	i := &Invocation{Feature: FeaturePrefix + featReboot, Input: xpc.Dict{
		{Key: "rebootStyle", Value: xpc.Dict{{Key: string(style), Value: xpc.Dict{}}}},
	}}
	_, err := a.call(wait, i)
	if err == nil || errors.Is(err, net.ErrClosed) || wait.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return failed(featReboot, "", err)
}
