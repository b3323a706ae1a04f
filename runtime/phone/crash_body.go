package phone

import (
	"fmt"
	"strings"
	"time"
)

// reportBody is the second part of a report, by its type.
func (p *Phone) reportBody(r report, incident, osVersion string, at time.Time) map[string]any {
	stamp := at.Format("2006-01-02 15:04:05.0000 -0700")
	key := fmt.Sprintf("%x", bytesOf(20, "crashreporter", p.id.udid))
	common := map[string]any{
		"bug_type": r.bug, "crashReporterKey": key, "incident": incident,
		"product": p.prof.productType,
	}
	switch r.bug {
	case bugCrash:
		p.crashBody(common, r, stamp)
	case bugJetsam:
		p.jetsamBody(common, osVersion, stamp)
	case bugPanic:
		p.panicBody(common, osVersion, stamp)
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

func (p *Phone) crashBody(b map[string]any, r report, stamp string) {
	seed := hashOf(r.proc.Name, stamp)
	image := func(file, name string, base uint64) map[string]any {
		return map[string]any{"arch": "arm64e", "base": base, "name": name, "path": file,
			"size":   1 << 18,
			"source": "P", "uuid": lowerUUID(uuidOf(file, p.prof.build))}
	}
	frame := func(image, offset int, symbol string) map[string]any {
		return map[string]any{
			"imageIndex": image, "imageOffset": offset, "symbol": symbol,
			"symbolLocation": offset % 64,
		}
	}
	for k, v := range map[string]any{
		"bundleInfo": map[string]any{"CFBundleIdentifier": r.proc.BundleID,
			"CFBundleShortVersionString": r.version, "CFBundleVersion": r.build},
		"captureTime": stamp, "coalitionID": 300 + seed%500, "coalitionName": r.proc.BundleID,
		"cpuType": "ARM-64",
		"exception": map[string]any{"codes": "0x0000000000000001, 0x0000000000000000",
			"rawCodes": []int{1, 0},
			"signal":   "SIGSEGV", "subtype": "KERN_INVALID_ADDRESS at 0x0000000000000000",
			"type": "EXC_BAD_ACCESS"},
		"faultingThread": 0, "modelCode": p.prof.productType,
		"osVersion": map[string]any{
			"build": p.prof.build, "releaseType": "User", "train": "iPhone OS " + p.prof.version,
		},
		"parentPid": 1, "parentProc": "launchd", "pid": r.proc.PID, "procLaunch": stamp,
		"procName": r.proc.Name,
		"procPath": r.proc.Path, "procRole": "Foreground",
		"termination": map[string]any{"byPid": r.proc.PID, "byProc": "exc handler", "code": 11,
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
			image(r.proc.Path, r.proc.Name, 0x104000000+seed%0x1000<<14),
			image("/usr/lib/system/libdispatch.dylib", "libdispatch.dylib", 0x1A0C00000),
			image("/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore", "UIKitCore",
				0x19C400000),
		},
		"uptime": 110_000 + seed%9000, "userID": 501, "version": 2,
	} {
		b[k] = v
	}
}

func (p *Phone) jetsamBody(b map[string]any, osVersion, stamp string) {
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

func (p *Phone) panicBody(b map[string]any, osVersion, stamp string) {
	b["build"], b["date"] = osVersion, stamp
	b["kernel"] = p.kernelVersion()
	b["panicFlags"] = "0x802"
	b["panicString"] = "panic(cpu 2 caller 0xfffffff01a2b3c4d): userspace watchdog timeout: no successful checkins from thermalmonitord in 180 seconds\n" +
		"Debugger message: panic\nMemory ID: 0xff\nOS release type: User\nOS version: " +
		p.prof.build +
		"\nKernel version: " + p.kernelVersion() + "\n"
}

// kernelVersion is what uname -v says.
func (p *Phone) kernelVersion() string {
	return fmt.Sprintf("Darwin Kernel Version %s: root:xnu/RELEASE_ARM64_%s", p.prof.darwin,
		strings.ToUpper(p.prof.platform))
}
