package crashes

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// object is an object of JSON.
type object = map[string]any

// stampForm is the form of times in bodies. Those of headers have only two decimals.
const stampForm = "2006-01-02 15:04:05.0000 -0700"

// body is the second part of a report, by its type.
func (c *Crashes) body(r Report, incident, osVersion string, at time.Time) object {
	common := object{
		"bug_type": r.Bug, "incident": incident,
		"crashReporterKey": fmt.Sprintf("%x", identity.Bytes(20, "crashreporter", c.id.UDID)),
	}
	if r.Bug == Crash {
		c.crashBody(common, r, at)
		return common
	}
	c.systemBody(common, osVersion, at.Format(stampForm))
	switch r.Bug {
	case Jetsam:
		c.jetsamBody(common)
	case Panic:
		c.panicBody(common)
	default:
		c.stackBody(common)
	}
	return common
}

// crashBody adds the keys of a crash: those about the process, and those about its threads.
func (c *Crashes) crashBody(b object, r Report, at time.Time) {
	seed := identity.Hash(r.Process.Name, at.Format(stampForm))
	uptime := r.Uptime
	if uptime == 0 {
		uptime = time.Duration(110_000+seed%9000) * time.Second
	}
	launched := r.Process.Started
	if launched.IsZero() {
		launched = at.Add(-time.Duration(60+seed%3600) * time.Second)
	}
	maps.Copy(b, c.processKeys(r, at, launched, seed))
	maps.Copy(b, c.signingKeys(r))
	b["uptime"] = int64(uptime / time.Second)
	b["procExitAbsTime"] = clock.MachTicks(uptime)
	b["procStartAbsTime"] = clock.MachTicks(max(uptime-at.Sub(launched), 0))
	state := State{Unlocked: true} // when the reports of a new phone were written
	if r.Uptime != 0 {
		state = c.o.State()
	}
	b["isLocked"], b["wasUnlockedSinceBoot"] = number(state.Locked), number(state.Unlocked)
	if r.Process.BundleID != "" {
		b["bundleInfo"] = object{
			"CFBundleIdentifier":         r.Process.BundleID,
			"CFBundleShortVersionString": r.Version, "CFBundleVersion": r.Build,
		}
	}
	c.threadKeys(b, r, seed)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// processKeys returns the keys about the process and the phone.
func (c *Crashes) processKeys(r Report, at, launched time.Time, seed uint64) object {
	role, coalition := "Foreground", r.Process.BundleID
	if coalition == "" {
		role, coalition = "Unspecified", "com.apple."+r.Process.Name
	}
	user := 501
	if r.Process.User == "root" {
		user = 0
	}
	return object{
		"captureTime": at.Format(stampForm),
		"procLaunch":  launched.In(at.Location()).Format(stampForm),
		"coalitionID": 300 + seed%500, "coalitionName": coalition,
		"pid": r.Process.PID, "procName": r.Process.Name, "procPath": r.Process.Path,
		"procRole": role, "parentPid": 1, "parentProc": "launchd", "userID": user,
		"cpuType": "ARM-64", "modelCode": c.id.ProductType,
		"basebandVersion": c.id.BasebandVersion,
		"osVersion": object{
			"build": c.id.Build, "isEmbedded": true, "releaseType": "User",
			"train": "iPhone OS " + c.id.Version,
		},
		"deployVersion": 210, "version": 2, "isCorpse": 1, "ldm": 0,
		"throttleTimeout": math.MaxInt32, "trmStatus": 1,
		"logWritingSignature": fmt.Sprintf("%x", identity.Bytes(20, "writer", r.Process.Name)),
		"trialInfo":           object{"experiments": []any{}, "rollouts": []any{}},
		"reportNotes":         []any{},
	}
}

// Bits of codeSigningFlags, and values of codeSigningValidationCategory.
const (
	signedValid, signedForDebug         = 0x1, 0x4
	signedHard, signedKill              = 0x100, 0x200
	signedEnforced, signedLibraries     = 0x1000, 0x2000
	signedPlatform, signedAtAll         = 0x4000000, 0x20000000
	byPlatform, byDeveloper, byAppStore = 1, 3, 4
)

func (c *Crashes) signingKeys(r Report) object {
	flags := signedValid | signedHard | signedKill | signedEnforced | signedLibraries | signedAtAll
	category, id := byAppStore, r.Process.BundleID
	switch {
	case first(r.Process.BundleID) == 1:
		flags |= signedPlatform
		category = byPlatform
	case r.Developer:
		flags |= signedForDebug
		category = byDeveloper
	}
	if id == "" {
		id = "com.apple." + r.Process.Name
	}
	return object{
		"codeSigningFlags": flags, "codeSigningID": id, "codeSigningTeamID": r.Team,
		"codeSigningTrustLevel": 4, "codeSigningValidationCategory": category,
	}
}

// The libraries of the system are in the shared cache.
const sharedCacheBase, sharedCacheSize uint64 = 0x180000000, 0xC0000000

// images returns the images of a process that crashes: its executable, libdispatch, UIKit and
// the kernel's library.
func (c *Crashes) images(r Report, seed uint64) []object {
	image := func(file, name, source string, base uint64) object {
		return object{"arch": c.id.Architecture(), "base": base, "name": name, "path": file,
			"size": 1 << 20, "source": source,
			"uuid": identity.LowerUUID(identity.UUID(file, c.id.Build))}
	}
	list := []object{
		image(r.Process.Path, r.Process.Name, "P", 0x104000000+seed%0x1000<<14),
		image("/usr/lib/system/libdispatch.dylib", "libdispatch.dylib", "P", 0x1A0C00000),
		image("/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore", "UIKitCore", "P",
			0x19C400000),
		image("/usr/lib/system/libsystem_kernel.dylib", "libsystem_kernel.dylib", "P",
			0x1D4A00000),
	}
	list[0]["uuid"] = identity.LowerUUID(r.Process.UUID)
	if r.Process.BundleID != "" {
		list[0]["CFBundleIdentifier"] = r.Process.BundleID
		list[0]["CFBundleShortVersionString"], list[0]["CFBundleVersion"] = r.Version, r.Build
	}
	return list
}

// threadKeys adds the exception, the threads and the images. The registers of the thread that
// crashed agree with the exception and the frames.
func (c *Crashes) threadKeys(b object, r Report, seed uint64) {
	images := c.images(r, seed)
	const main = "com.apple.main-thread"
	crashed := []frame{
		{0, 15232 + int(seed%4096)*4, "closure #1 in ViewController.load()"},
		{1, 203412, "_dispatch_call_block_and_release"}, {2, 884736, "UIApplicationMain"},
		{0, 8192, "main"},
	}
	idle := []frame{{3, 3412, "__workq_kernreturn"}, {1, 93712, "_dispatch_worker_thread2"}}
	b["exception"] = object{
		"codes": "0x0000000000000001, 0x0000000000000000", "rawCodes": []int{1, 0},
		"signal": "SIGSEGV", "subtype": "KERN_INVALID_ADDRESS at 0x0000000000000000",
		"type": "EXC_BAD_ACCESS",
	}
	b["termination"] = object{
		"byPid": r.Process.PID, "byProc": "exc handler", "code": 11, "flags": 0,
		"indicator": "Segmentation fault: 11", "namespace": "SIGNAL",
	}
	b["faultingThread"] = 0
	b["legacyInfo"] = object{"threadTriggered": object{"queue": main}}
	b["threads"] = []any{
		object{"id": 1000 + seed%9000, "queue": main, "triggered": true,
			"threadState": registers(images, crashed, seed), "frames": frames(crashed)},
		object{"id": 10_001 + seed%9000, "frames": frames(idle)},
		object{"id": 20_001 + seed%9000, "name": "com.apple.uikit.eventfetch-thread",
			"frames": frames(idle)},
	}
	b["usedImages"] = images
	b["sharedCache"] = object{"base": sharedCacheBase, "size": sharedCacheSize,
		"uuid": identity.LowerUUID(identity.UUID("dyld shared cache", c.id.Build))}
	code := identity.Bytes(48, "code", r.Process.Path, r.Build)
	b["instructionByteStream"] = object{
		"beforePC": base64.StdEncoding.EncodeToString(code[:32]),
		"atPC":     base64.StdEncoding.EncodeToString(code[32:]),
	}
	b["vmRegionInfo"] = "0 is not in any region.  Bytes before following region: 4362076160\n" +
		"      REGION TYPE                 START - END      [ VSIZE] PRT/MAX SHRMOD  REGION DETAIL\n" +
		"      UNUSED SPACE AT START\n"
	b["vmSummary"] = "ReadOnly portion of Libraries: Total=1.0G resident=0K(0%)\n" +
		"Writable regions: Total=532.9M written=0K(0%) resident=0K(0%)\n"
}

// frame is a frame of a stack.
type frame struct {
	image, offset int
	symbol        string
}

// location is the number of bytes between the start of the symbol and the frame.
func (f frame) location() int { return f.offset % 64 }

func frames(list []frame) []any {
	out := make([]any, len(list))
	for i, f := range list {
		out[i] = object{"imageIndex": f.image, "imageOffset": f.offset, "symbol": f.symbol,
			"symbolLocation": f.location()}
	}
	return out
}

// registers returns the state of the thread that crashed in the first frame, when it read the
// address 0.
func registers(images []object, stack []frame, seed uint64) object {
	value := func(v uint64) object { return object{"value": v} }
	at := func(f frame) object {
		return object{"value": images[f.image]["base"].(uint64) + uint64(f.offset),
			"symbol": f.symbol, "symbolLocation": f.location()}
	}
	x := make([]object, 29)
	for i := range x {
		x[i] = value(identity.Hash("register", fmt.Sprint(seed, i)) % sharedCacheSize)
	}
	x[0] = value(0) // the address that was read
	const sp = 0x16BD40000
	pc, esr := at(stack[0]), value(0x92000006)
	pc["matchesCrashFrame"] = 1
	esr["description"] = "(Data Abort) byte read Translation fault"
	return object{
		"flavor": "ARM_THREAD_STATE64", "x": x, "fp": value(sp + 0x80), "lr": at(stack[1]),
		"sp": value(sp), "pc": pc, "cpsr": value(0x60000000), "far": value(0), "esr": esr,
	}
}
