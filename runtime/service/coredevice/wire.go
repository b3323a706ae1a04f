// Package coredevice speaks to the services of CoreDevice, with which iOS 17 and
// later starts and ends apps, describes itself and collects diagnostics. They are
// in the tunnel alone and need a mounted developer image. Each is a RemoteXPC
// connection (package remotexpc) on which one invocation follows another:
//
//	H#1  {CoreDevice.CoreDeviceDDIProtocolVersion: 2, CoreDevice.action: {},
//	      CoreDevice.coreDeviceVersion: {components: [629, 3], originalComponentsCount: 2, stringValue: "629.3"},
//	      CoreDevice.deviceIdentifier: "A7DD28AC-..", CoreDevice.invocationIdentifier: "62419FC1-..",
//	      CoreDevice.featureIdentifier: "com.apple.coredevice.feature.sendsignaltoprocess",
//	      CoreDevice.input: {process: {processIdentifier: 412}, signal: 9}}          wants a reply
//	D#3  {CoreDevice.output: {process: {processIdentifier: 412, ...}, signal: 9, deviceTimestamp: ..}}
//	 or  {CoreDevice.error: {domain: "NSPOSIXErrorDomain", code: 3, userInfo: {NSLocalizedDescription: ".."}}}
//
// Actions without a feature leave featureIdentifier and action out and have an
// actionIdentifier. The streaming features, which came with iOS 26 because long
// lists do not get through there in one reply, wrap their input and answer with
// messages on stream 1:
//
//	H#1  {.., CoreDevice.featureIdentifier: "..streamapplist",
//	      CoreDevice.input: {actualInput: {..}, streamProxy: {sideChannel: uuid U}}}
//	D#1  {CoreDevice.XPCMessageKey.sideChannelStatus: {pushing: {elements: [..]}}, XPCSideChannel.uniqueIdentifier: U}
//	D#1  {CoreDevice.XPCMessageKey.sideChannelStatus: {finishStreaming: {}}, XPCSideChannel.uniqueIdentifier: U}
//
// com.apple.coredevice.openstdiosocket is not RemoteXPC. The device begins with 16
// bytes, a UUID by which launchapplication on another connection names the
// socket; what follows is the terminal of the app that was launched:
//
//	D  1f 0c .. (16 bytes)
//	   H  launchapplication {standardIOIdentifiers: {standardInput: U, standardOutput: U, standardError: U}, ..}
//	D  "hello\n"            until the app ends
package coredevice

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// The services of the family that this package speaks to.
var (
	// AppService has apps and processes.
	AppService = service.Name{Remote: "com.apple.coredevice.appservice", NeedsDDI: true}
	// OpenStdIOSocket has the terminals of launched apps.
	OpenStdIOSocket = service.Name{Remote: "com.apple.coredevice.openstdiosocket", NeedsDDI: true}
	// DeviceInfo describes the device.
	DeviceInfo = service.Name{Remote: "com.apple.coredevice.deviceinfo", NeedsDDI: true}
	// Diagnostics collects a sysdiagnose.
	Diagnostics = service.Name{Remote: "com.apple.coredevice.diagnosticsservice", NeedsDDI: true}
)

// Prefixes of identifiers. Where this package takes the name of a feature or an
// action, a name without dots gets its prefix.
const (
	FeaturePrefix = "com.apple.coredevice.feature."
	ActionPrefix  = "com.apple.coredevice.action."
)

// Keys of the envelope.
const (
	keyProtocol = "CoreDevice.CoreDeviceDDIProtocolVersion" // int64
	keyAction   = "CoreDevice.action"                       // {}
	keyActionID = "CoreDevice.actionIdentifier"             // string
	// {components, originalComponentsCount, stringValue}
	keyVersion    = "CoreDevice.coreDeviceVersion"
	keyDevice     = "CoreDevice.deviceIdentifier"     // UUID as string, any
	keyFeature    = "CoreDevice.featureIdentifier"    // string
	keyInput      = "CoreDevice.input"                // dictionary or null
	keyInvocation = "CoreDevice.invocationIdentifier" // UUID as string
	keyOutput     = "CoreDevice.output"               // anything
	keyError      = "CoreDevice.error"                // {domain, code, userInfo}

	// {pushing | finishStreaming | receivedError: {..}}
	keyStatus      = "CoreDevice.XPCMessageKey.sideChannelStatus"
	keySideChannel = "XPCSideChannel.uniqueIdentifier" // UUID

	keyActualInput = "actualInput"
	keyProxy       = "streamProxy" // {sideChannel: UUID}
	keyChannel     = "sideChannel"
)

const (
	// MaxRequest bounds a request that a device takes.
	MaxRequest = 16 << 20
	// MaxReply bounds a reply; the apps of a full device are some hundred KB.
	MaxReply = 64 << 20
	// maxElements bounds what a streaming feature may give in all.
	maxElements = 100_000
	// maxComponents bounds a version number.
	maxComponents = 16

	// protocolVersion and coreDeviceVersion are what current hosts say that
	// they are; devices since iOS 17 take it.
	protocolVersion   = 2
	coreDeviceVersion = "629.3"
)

// Invocation is a request.
type Invocation struct {
	Protocol int64  // 0 with older hosts, 2 with newer ones
	Version  string // of the host's CoreDevice, "629.3"
	Device   string // an identifier that devices do not look at
	ID       string // of the invocation
	// Feature and Action are what is asked for, identifiers in full. An
	// action without a feature is one that stands alone.
	Feature, Action string
	Input           any // an xpc.Dict as a rule; nil is null
}

// Encode makes the envelope.
func (i *Invocation) Encode() xpc.Dict {
	d := xpc.Dict{{Key: keyProtocol, Value: i.Protocol}}
	if i.Feature != "" {
		d = append(d, xpc.Pair{Key: keyAction, Value: xpc.Dict{}})
	}
	if i.Action != "" {
		d = append(d, xpc.Pair{Key: keyActionID, Value: i.Action})
	}
	d = append(d, xpc.Pair{Key: keyVersion, Value: encodeVersion(i.Version)},
		xpc.Pair{Key: keyDevice, Value: i.Device})
	if i.Feature != "" {
		d = append(d, xpc.Pair{Key: keyFeature, Value: i.Feature})
	}
	return append(d, xpc.Pair{Key: keyInput, Value: i.Input},
		xpc.Pair{Key: keyInvocation, Value: i.ID})
}

func encodeVersion(text string) xpc.Dict {
	parts := []any{}
	if text != "" { // a host may leave it out
		for _, s := range strings.Split(text, ".") {
			n, _ := strconv.ParseUint(s, 10, 64)
			parts = append(parts, n)
		}
	}
	return xpc.Dict{
		{Key: "components", Value: parts},
		{Key: "originalComponentsCount", Value: int64(len(parts))},
		{Key: "stringValue", Value: text},
	}
}

// DecodeInvocation reads an envelope. What hosts leave out or write in their own
// way is passed over, as nothing but the identifiers and the input matters; one
// that asks for nothing is an error.
func DecodeInvocation(d xpc.Dict) (*Invocation, error) {
	i := &Invocation{}
	i.Protocol, _ = d.Int(keyProtocol)
	i.Device, _ = d.String(keyDevice)
	i.ID, _ = d.String(keyInvocation)
	i.Feature, _ = d.String(keyFeature)
	i.Action, _ = d.String(keyActionID)
	i.Input, _ = d.Get(keyInput)
	if _, null := i.Input.(xpc.Null); null {
		i.Input = nil
	}
	version, _ := d.Dict(keyVersion)
	i.Version, _ = version.String("stringValue")
	if parts, ok := version.Array("components"); ok && i.Version == "" &&
		len(parts) <= maxComponents {
		text := make([]string, len(parts))
		for k := range parts {
			text[k] = fmt.Sprint(parts[k])
		}
		i.Version = strings.Join(text, ".")
	}
	if i.Feature == "" && i.Action == "" {
		return nil, fmt.Errorf("%w: neither %s nor %s", ErrProtocol, keyFeature, keyActionID)
	}
	return i, nil
}

// name is what the invocation asks for.
func (i *Invocation) name() string {
	if i.Feature != "" {
		return i.Feature
	}
	return i.Action
}

// short takes the prefix off an identifier.
func short(id string) string {
	for _, prefix := range []string{FeaturePrefix, ActionPrefix} {
		if s, ok := strings.CutPrefix(id, prefix); ok {
			return s
		}
	}
	return id
}

// full puts a prefix before a name without dots.
func full(prefix, name string) string {
	if name == "" || strings.Contains(name, ".") {
		return name
	}
	return prefix + name
}

// encodeOutput makes a reply. The identifier comes last: go-ios fails on data of
// no length if nothing is behind it.
func encodeOutput(id string, v any) xpc.Dict {
	if v == nil {
		v = xpc.Dict{} // hosts take a reply without a value for none at all
	}
	return xpc.Dict{{Key: keyOutput, Value: v}, {Key: keyInvocation, Value: id}}
}

func encodeFailure(id string, e *Error) xpc.Dict {
	return xpc.Dict{{Key: keyError, Value: e.encode()}, {Key: keyInvocation, Value: id}}
}

// decodeReply returns what a reply holds. A refusal is an *Error without an
// operation.
func decodeReply(d xpc.Dict) (any, error) {
	if e, ok := d.Dict(keyError); ok {
		return nil, decodeError(e)
	}
	v, ok := d.Get(keyOutput)
	if !ok {
		return nil, fmt.Errorf("%w: neither output nor error", ErrProtocol)
	}
	return v, nil
}

// push is a message of a streaming feature.
type push struct {
	channel  xpc.UUID
	elements []any
	finished bool
}

func (p *push) encode() xpc.Dict {
	status := xpc.Dict{{Key: "finishStreaming", Value: xpc.Dict{}}}
	if !p.finished {
		status = xpc.Dict{{Key: "pushing", Value: xpc.Dict{{Key: "elements", Value: p.elements}}}}
	}
	return xpc.Dict{{Key: keyStatus, Value: status}, {Key: keySideChannel, Value: p.channel}}
}

// decodePush reads a message of a streaming feature. The failure of one is an
// *Error without an operation.
func decodePush(d xpc.Dict) (*push, error) {
	if e, ok := d.Dict(keyError); ok {
		return nil, decodeError(e)
	}
	p := &push{}
	p.channel, _ = d.UUID(keySideChannel)
	status, ok := d.Dict(keyStatus)
	if !ok {
		return nil, fmt.Errorf("%w: no status of a stream", ErrProtocol)
	}
	if e, ok := status.Dict("receivedError"); ok {
		if nested, ok := e.Dict("_0"); ok {
			e = nested
		}
		return nil, decodeError(e)
	}
	if _, ok := status.Get("finishStreaming"); ok {
		p.finished = true
		return p, nil
	}
	pushing, ok := status.Dict("pushing")
	if !ok {
		return nil, fmt.Errorf("%w: unknown status of a stream", ErrProtocol)
	}
	p.elements, _ = pushing.Array("elements")
	return p, nil
}

// wrapStream makes the input of a streaming feature.
func wrapStream(input any, channel xpc.UUID) xpc.Dict {
	return xpc.Dict{
		{Key: keyActualInput, Value: input},
		{Key: keyProxy, Value: xpc.Dict{{Key: keyChannel, Value: channel}}},
	}
}

var (
	// ErrProtocol is the cause when a message does not have the expected form.
	ErrProtocol = link.Malformed("unexpected message")
	// ErrLocked is a refusal because the device is locked.
	ErrLocked = errors.New("device is locked")
)

func clip(s string) string { return link.Clip(s) }
