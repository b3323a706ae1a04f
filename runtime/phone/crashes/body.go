package crashes

import (
	"fmt"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// body is the second part of a report, by its type.
func (c *Crashes) body(r Report, incident, osVersion string, at time.Time) map[string]any {
	stamp := at.Format("2006-01-02 15:04:05.0000 -0700")
	key := fmt.Sprintf("%x", identity.Bytes(20, "crashreporter", c.id.UDID))
	common := map[string]any{
		"bug_type": r.Bug, "crashReporterKey": key, "incident": incident,
		"product": c.id.ProductType,
	}
	switch r.Bug {
	case Crash:
		c.crashBody(common, r, stamp)
	case Jetsam:
		c.jetsamBody(common, osVersion, stamp)
	case Panic:
		c.panicBody(common, osVersion, stamp)
	default:
		common["build"] = osVersion
		common["date"] = stamp
		common["reason"] = "user-requested stackshot"
		common["processByPid"] = map[string]any{
			"0": map[string]any{"procname": "kernel_task", "pid": 0},
		}
	}
	return common
}

func (c *Crashes) crashBody(b map[string]any, r Report, stamp string) {
	seed := identity.Hash(r.Process.Name, stamp)
	image := func(file, name string, base uint64) map[string]any {
		return map[string]any{"arch": "arm64e", "base": base, "name": name, "path": file,
			"size":   1 << 18,
			"source": "P", "uuid": identity.LowerUUID(identity.UUID(file, c.id.Build))}
	}
	frame := func(image, offset int, symbol string) map[string]any {
		return map[string]any{
			"imageIndex": image, "imageOffset": offset, "symbol": symbol,
			"symbolLocation": offset % 64,
		}
	}
	for k, v := range map[string]any{
		"bundleInfo": map[string]any{"CFBundleIdentifier": r.Process.BundleID,
			"CFBundleShortVersionString": r.Version, "CFBundleVersion": r.Build},
		"captureTime": stamp, "coalitionID": 300 + seed%500, "coalitionName": r.Process.BundleID,
		"cpuType": "ARM-64",
		"exception": map[string]any{"codes": "0x0000000000000001, 0x0000000000000000",
			"rawCodes": []int{1, 0},
			"signal":   "SIGSEGV", "subtype": "KERN_INVALID_ADDRESS at 0x0000000000000000",
			"type": "EXC_BAD_ACCESS"},
		"faultingThread": 0, "modelCode": c.id.ProductType,
		"osVersion": map[string]any{
			"build": c.id.Build, "releaseType": "User", "train": "iPhone OS " + c.id.Version,
		},
		"parentPid": 1, "parentProc": "launchd", "pid": r.Process.PID, "procLaunch": stamp,
		"procName": r.Process.Name,
		"procPath": r.Process.Path, "procRole": "Foreground",
		"termination": map[string]any{"byPid": r.Process.PID, "byProc": "exc handler", "code": 11,
			"flags":     0,
			"indicator": "Segmentation fault: 11", "namespace": "SIGNAL"},
		"threads": []any{map[string]any{"id": 1000 + seed%9000, "queue": "com.apple.main-thread",
			"triggered": true,
			"frames": []any{
				frame(0, 15232+int(seed%4096)*4, "closure #1 in ViewController.load()"),
				frame(1, 203412, "_dispatch_call_block_and_release"),
				frame(2, 884736, "UIApplicationMain"),
				frame(0, 8192, "main"),
			}}},
		"usedImages": []any{
			image(r.Process.Path, r.Process.Name, 0x104000000+seed%0x1000<<14),
			image("/usr/lib/system/libdispatch.dylib", "libdispatch.dylib", 0x1A0C00000),
			image("/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore", "UIKitCore",
				0x19C400000),
		},
		"uptime": 110_000 + seed%9000, "userID": 501, "version": 2,
	} {
		b[k] = v
	}
}

func (c *Crashes) jetsamBody(b map[string]any, osVersion, stamp string) {
	b["build"], b["date"], b["genCounter"] = osVersion, stamp, 0
	b["largestProcess"] = "Blocks"
	b["memoryStatus"] = map[string]any{"compressorSize": 41211, "pageSize": 16384,
		"memoryPages": map[string]any{
			"active": 91234, "anonymous": 122033, "fileBacked": 60112, "free": 5120,
			"inactive": 88110, "wired": 70114,
		}}
	b["processes"] = []any{
		map[string]any{
			"name": "Blocks", "pid": 512, "reason": "per-process-limit", "rpages": 131072,
			"states": []string{"frontmost"},
		},
		map[string]any{
			"name": "SpringBoard", "pid": 58, "rpages": 21504,
			"states": []string{"frontmost", "resume"},
		},
	}
}

func (c *Crashes) panicBody(b map[string]any, osVersion, stamp string) {
	b["build"], b["date"] = osVersion, stamp
	b["kernel"] = c.id.KernelVersion()
	b["panicFlags"] = "0x802"
	b["panicString"] = "panic(cpu 2 caller 0xfffffff01a2b3c4d): userspace watchdog timeout: no successful checkins from thermalmonitord in 180 seconds\n" +
		"Debugger message: panic\nMemory ID: 0xff\nOS release type: User\nOS version: " +
		c.id.Build +
		"\nKernel version: " + c.id.KernelVersion() + "\n"
}
