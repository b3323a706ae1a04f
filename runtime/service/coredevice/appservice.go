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

// Apps is a connection to the app service of a device.
type Apps struct{ *Conn }

// ConnectApps opens the app service on a device.
func ConnectApps(ctx context.Context, o service.Opener) (*Apps, error) {
	c, err := Connect(ctx, o, AppService)
	if err != nil {
		return nil, err
	}
	return &Apps{c}, nil
}

// App describes an installed app. A field is empty if the device did not send it.
type App struct {
	BundleID  string
	Name      string
	Version   string // CFBundleShortVersionString
	Build     string // CFBundleVersion
	Path      string // path of the bundle
	Removable bool
	// FirstParty is true for apps of Apple, Developer for apps that are signed for
	// development, and Default for apps that are part of a new device.
	FirstParty, Developer, Internal, Hidden, AppClip, Default bool
	// Container and Groups are set only if the AppFilter asks for them.
	Container string   // path of the data container
	Groups    []string // identifiers
	Raw       xpc.Dict
}

// AppFilter selects apps. Apps that are signed for development are always selected; the
// zero value selects only these.
type AppFilter struct {
	AppClips, Removable, Hidden, Internal, Default bool
	// OnlyWithContainer excludes apps whose container a developer may not access.
	// Containers and Groups request App.Container and App.Groups. Devices support the
	// three options since iOS 26.
	OnlyWithContainer, Containers, Groups bool
}

// AllApps selects all apps.
var AllApps = AppFilter{
	AppClips: true, Removable: true, Hidden: true, Internal: true, Default: true,
}

// input encodes the filter. Devices require the last three keys since iOS 26 and ignore
// them before.
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

// List lists apps on any version of iOS. It uses a stream if the device supports it,
// and a single reply otherwise.
func (a *Apps) List(ctx context.Context, f AppFilter) ([]App, error) {
	ctx, cancel := bounded(ctx, invokeTimeout)
	defer cancel()
	list, err := a.StreamList(ctx, f)
	if errors.Is(err, errors.ErrUnsupported) {
		return a.ListOnce(ctx, f)
	}
	return list, err
}

// ListOnce lists apps in one reply. Devices since iOS 26 support the stream instead and
// do not answer this request.
func (a *Apps) ListOnce(ctx context.Context, f AppFilter) ([]App, error) {
	v, err := a.Invoke(ctx, featListApps, f.input())
	if err != nil {
		return nil, err
	}
	return parseList(ctx, featListApps, v, parseApp)
}

// StreamList lists apps as a stream. Before iOS 26 the error matches
// errors.ErrUnsupported.
func (a *Apps) StreamList(ctx context.Context, f AppFilter) ([]App, error) {
	return streamed(ctx, a.Conn, featStreamApps, f.input(), parseApp)
}

// streamed collects the elements of a stream. It ignores elements that cannot be
// decoded.
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

// parseList returns the elements of an array. It leaves out elements that cannot be
// decoded, see link.PassOver.
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

// parseElement decodes an element of a list.
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

// pathOf returns the path of a file URL. It returns a path unchanged.
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

// urlOf returns the file URL of a path.
func urlOf(file string) string { return (&url.URL{Scheme: "file", Path: file}).String() }

// Process is a running process.
type Process struct {
	PID int
	// Version distinguishes processes that had the same PID one after the other.
	Version    int64
	Path       string // path of the executable; "" if the device did not send it
	AuditToken []uint32
	Raw        xpc.Dict
}

// Name returns the base name of the executable.
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

// tokenOf decodes the process in an output.
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

// StreamProcesses lists the running processes as a stream. Before iOS 26 the error
// matches errors.ErrUnsupported.
func (a *Apps) StreamProcesses(ctx context.Context) ([]Process, error) {
	return streamed(ctx, a.Conn, featStreamProcess, xpc.Dict{}, parseProcess)
}

// processInput returns the pair that names a process in an input.
func processInput(key string, pid int) xpc.Pair {
	return xpc.Pair{Key: key, Value: xpc.Dict{{Key: keyPID, Value: int64(pid)}}}
}

// Signalled is the answer to Signal.
type Signalled struct {
	Process Process
	Signal  int
	Time    time.Time // time on the clock of the device
}

// Signal sends a signal to a process. Signals have the numbers of iOS. The error
// matches fs.ErrNotExist if the process does not exist.
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

// WarnMemory sends a memory warning to a process.
func (a *Apps) WarnMemory(ctx context.Context, pid int) error {
	_, err := a.invoke(ctx, &Invocation{
		Feature: FeaturePrefix + featMemoryWarning, Input: xpc.Dict{processInput(keyProcess, pid)},
	}, strconv.Itoa(pid))
	return err
}

// Ending says how a process ended.
type Ending struct {
	Process Process
	// Signal is the signal that ended the process, or 0 if the device did not report
	// one.
	Signal int
	Raw    xpc.Dict
}

// AwaitEnd waits until a process or ctx ends. The connection cannot be used for other
// calls in the meantime. The error matches fs.ErrNotExist if the process does not
// exist.
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

// Uninstall removes an app and its data. The error matches fs.ErrNotExist if the app is
// not installed, and fs.ErrPermission if it is a part of iOS.
func (a *Apps) Uninstall(ctx context.Context, bundleID string) error {
	i := &Invocation{
		Feature: FeaturePrefix + featUninstall,
		Input:   xpc.Dict{{Key: keyBundleID, Value: bundleID}},
	}
	_, err := a.invoke(ctx, i, bundleID)
	return err
}

// Roots describes the roots below a path. Roots are replaced parts of the system.
// Devices with a customer's version of iOS refuse the request.
func (a *Apps) Roots(ctx context.Context, below string) (xpc.Dict, error) {
	return a.dict(ctx, featListRoots,
		xpc.Dict{{Key: "rootPoint", Value: xpc.Dict{{Key: keyRelative, Value: below}}}}, below)
}

// RebootStyle selects what a reboot restarts.
type RebootStyle string

// Styles of a reboot.
const (
	RebootFull      RebootStyle = "full"
	RebootUserspace RebootStyle = "userspace"
)

// Reboot restarts the device. It returns nil when the device has accepted the request
// or has closed the connection. It also returns nil if the device sends nothing for ten
// seconds.
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
