// Package coredevice implements clients of the CoreDevice services, and their device
// side. With these services, iOS 17 and later starts and ends apps, describes the
// device and collects diagnostics. The services are available only in the tunnel and
// need a mounted developer disk image. Each is a RemoteXPC connection (package
// remotexpc) that carries one invocation after the other:
//
//	H#1  {CoreDevice.CoreDeviceDDIProtocolVersion: 2, CoreDevice.action: {},
//	      CoreDevice.coreDeviceVersion: {components: [629, 3], originalComponentsCount: 2, stringValue: "629.3"},
//	      CoreDevice.deviceIdentifier: "A7DD28AC-..", CoreDevice.invocationIdentifier: "62419FC1-..",
//	      CoreDevice.featureIdentifier: "com.apple.coredevice.feature.sendsignaltoprocess",
//	      CoreDevice.input: {process: {processIdentifier: 412}, signal: 9}}          wants a reply
//	D#3  {CoreDevice.output: {process: {processIdentifier: 412, ...}, signal: 9, deviceTimestamp: ..}}
//	 or  {CoreDevice.error: {domain: "NSPOSIXErrorDomain", code: 3, userInfo: {NSLocalizedDescription: ".."}}}
//
// An action without a feature has an actionIdentifier instead of featureIdentifier and
// action. iOS 26 introduced streaming features, because long lists cannot be sent in
// one reply there. Such a feature wraps its input, and the device answers with messages
// on stream 1:
//
//	H#1  {.., CoreDevice.featureIdentifier: "..streamapplist",
//	      CoreDevice.input: {actualInput: {..}, streamProxy: {sideChannel: uuid U}}}
//	D#1  {CoreDevice.XPCMessageKey.sideChannelStatus: {pushing: {elements: [..]}}, XPCSideChannel.uniqueIdentifier: U}
//	D#1  {CoreDevice.XPCMessageKey.sideChannelStatus: {finishStreaming: {}}, XPCSideChannel.uniqueIdentifier: U}
//
// The service com.apple.coredevice.openstdiosocket does not use RemoteXPC. The device
// first sends 16 bytes, a UUID. A launchapplication request on another connection names
// the socket by this UUID. After that the connection is the terminal of the launched
// app:
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

// The services that this package supports.
var (
	// AppService manages apps and processes.
	AppService = service.Name{Remote: "com.apple.coredevice.appservice", NeedsDDI: true}
	// OpenStdIOSocket provides the terminals of launched apps.
	OpenStdIOSocket = service.Name{Remote: "com.apple.coredevice.openstdiosocket", NeedsDDI: true}
	// DeviceInfo describes the device.
	DeviceInfo = service.Name{Remote: "com.apple.coredevice.deviceinfo", NeedsDDI: true}
	// Diagnostics collects a sysdiagnose.
	Diagnostics = service.Name{Remote: "com.apple.coredevice.diagnosticsservice", NeedsDDI: true}
)

// Prefixes of identifiers. Where this package takes the name of a feature or an action,
// it adds the prefix to a name without dots.
const (
	FeaturePrefix = "com.apple.coredevice.feature."
	ActionPrefix  = "com.apple.coredevice.action."
)

// Keys of the envelope of an invocation and of a reply.
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
	// MaxRequest bounds the size of a request that a device accepts.
	MaxRequest = 16 << 20
	// MaxReply bounds the size of a reply. The list of apps of a full device takes
	// several hundred KB.
	MaxReply = 64 << 20
	// maxElements bounds the total number of elements of a streaming feature.
	maxElements = 100_000
	// maxComponents bounds the number of components of a version.
	maxComponents = 16

	// protocolVersion and coreDeviceVersion are the versions that current hosts send.
	// Devices since iOS 17 accept them.
	protocolVersion   = 2
	coreDeviceVersion = "629.3"
)

// Invocation is a request.
type Invocation struct {
	Protocol int64  // 0 from older hosts, 2 from newer ones
	Version  string // of the host's CoreDevice, "629.3"
	Device   string // an identifier that devices ignore
	ID       string // identifier of the invocation
	// Feature and Action are the full identifiers of what is requested. An action may
	// stand alone, without a feature.
	Feature, Action string
	Input           any // usually an xpc.Dict; nil is sent as null
}

// Encode returns the envelope of the invocation.
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
	if text != "" { // the host may omit it
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

// DecodeInvocation decodes an envelope. It accepts missing keys and unusual values,
// because only the identifiers and the input matter. An envelope that names neither a
// feature nor an action is an error.
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

// name returns the identifier of what is requested.
func (i *Invocation) name() string {
	if i.Feature != "" {
		return i.Feature
	}
	return i.Action
}

// short removes the prefix from an identifier.
func short(id string) string {
	for _, prefix := range []string{FeaturePrefix, ActionPrefix} {
		if s, ok := strings.CutPrefix(id, prefix); ok {
			return s
		}
	}
	return id
}

// full adds a prefix to a name without dots.
func full(prefix, name string) string {
	if name == "" || strings.Contains(name, ".") {
		return name
	}
	return prefix + name
}

// encodeOutput returns a reply. The invocation identifier comes last, because go-ios
// fails if a message ends with data of length zero.
func encodeOutput(id string, v any) xpc.Dict {
	if v == nil {
		v = xpc.Dict{} // hosts take a reply without a value for no reply
	}
	return xpc.Dict{{Key: keyOutput, Value: v}, {Key: keyInvocation, Value: id}}
}

func encodeFailure(id string, e *Error) xpc.Dict {
	return xpc.Dict{{Key: keyError, Value: e.encode()}, {Key: keyInvocation, Value: id}}
}

// decodeReply returns the output in a reply. If the reply is a refusal, the error is an
// *Error without an operation.
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

// decodePush decodes a message of a streaming feature. If the message reports an error,
// the returned error is an *Error without an operation.
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

// wrapStream returns the input of a streaming feature.
func wrapStream(input any, channel xpc.UUID) xpc.Dict {
	return xpc.Dict{
		{Key: keyActualInput, Value: input},
		{Key: keyProxy, Value: xpc.Dict{{Key: keyChannel, Value: channel}}},
	}
}

var (
	// ErrProtocol is the cause if a message does not have the expected form.
	ErrProtocol = link.Malformed("unexpected message")
	// ErrLocked is matched by the refusal of a device that is locked.
	ErrLocked = errors.New("device is locked")
)

func clip(s string) string { return link.Clip(s) }
