package crashes

import (
	"fmt"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// pageSize is the size of a memory page.
const pageSize = 16384

// systemBody adds the keys that reports about the whole phone have in common.
func (c *Crashes) systemBody(b object, osVersion, stamp string) {
	b["build"], b["date"], b["product"] = osVersion, stamp, c.id.ProductType
	b["kernel"], b["socId"] = c.id.KernelVersion(), fmt.Sprintf("%x", c.id.ChipID)
	b["memoryStatus"] = object{
		"compressorSize": 41211, "compressions": 1_204_512, "decompressions": 811_040,
		"uncompressed": 120_311, "pageSize": pageSize, "zoneMapCap": 1_431_650_304,
		"zoneMapSize": 171_261_952, "largestZone": "APFS_4K_OBJS", "largestZoneSize": 30_244_864,
		"busyBufferCount": 0, "memoryPressure": false,
		"memoryPressureDetails": object{"pagesWanted": 0, "pagesReclaimed": 0},
		"memoryPages": object{
			"active": 91234, "anonymous": 122033, "fileBacked": 60112, "free": 5120,
			"inactive": 88110, "purgeable": 311, "speculative": 1720, "throttled": 0,
			"wired": 70114,
		},
	}
}

// jetsamBody adds the processes and the reason why one of them was ended.
func (c *Crashes) jetsamBody(b object) {
	delete(b, "socId")
	b["timeDelta"], b["genCounter"], b["codeSigningMonitor"] = 61, 0, 1
	b["largestProcess"] = "Blocks"
	process := func(name string, pid, pages int, states ...string) object {
		return object{
			"name": name, "pid": pid, "rpages": pages, "lifetimeMax": pages + pages/8,
			"uuid":   identity.LowerUUID(identity.UUID(name, c.id.Build)),
			"states": states, "purgeable": 0, "fds": 50, "coalition": 200 + pid, "priority": 100,
			"age": int64(4_811_032_110), "csFlags": signedValid | signedHard | signedKill,
			"csTrustLevel": 4, "mem_regions": 1211, "cpuTime": 12.25,
			"physicalPages": object{
				"internal": []int{pages / 2, pages / 4}, "frozen_to_swap_pages": 0,
			},
			"freeze_skip_reason:": "none", // devices have the colon
		}
	}
	victim := process("Blocks", 512, 131072, "frontmost")
	victim["reason"], victim["killDelta"], victim["genCount"] = "per-process-limit", 11_307, 0
	b["processes"] = []any{
		victim, process("SpringBoard", 58, 21504, "frontmost", "resume"),
		process("NotesDemo", 431, 9216, "suspended"), process("backboardd", 57, 3072, "daemon"),
	}
}

// kernelStacks returns the processes of a stackshot, by PID, and the images that their frames
// refer to.
func (c *Crashes) kernelStacks() (byPID object, images []any) {
	image := func(file string, base uint64, letter string) []any {
		return []any{identity.LowerUUID(identity.UUID(file, c.id.Build)), base, letter}
	}
	images = []any{
		image("kernelcache", 0xFFFFFFF007004000, "U"),
		image("/usr/lib/system/libsystem_kernel.dylib", 0x1D4A00000, "S"),
	}
	byPID = object{}
	for _, p := range []struct {
		pid  int
		name string
		user [][]int
	}{
		{0, "kernel_task", nil}, {1, "launchd", [][]int{{1, 3412}, {1, 5120}}},
		{58, "SpringBoard", [][]int{{1, 3412}}},
	} {
		tid := 100 + p.pid*16
		thread := object{
			"id": tid, "name": p.name + ".main", "state": []string{"TH_WAIT", "TH_UNINT"},
			"basePriority": 31, "schedPriority": 31, "userTime": 0.25, "systemTime": 0.125,
			"user_usec": 250_000, "system_usec": 125_000, "qosRequested": "QOS_CLASS_UNSPECIFIED",
			"qosEffective": "QOS_CLASS_UNSPECIFIED", "waitEvent": []int{0, 81_920},
			"continuation": []int{0, 512_332}, "kernelFrames": [][]int{{0, 512_332}, {0, 81_944}},
		}
		if p.user != nil {
			thread["userFrames"] = p.user
			thread["dispatch_queue_label"] = "com.apple.main-thread"
		}
		byPID[fmt.Sprint(p.pid)] = object{
			"pid": p.pid, "procname": p.name, "residentMemoryBytes": (p.pid + 1) << 20,
			"pageIns": 211, "pageFaults": 40_211, "copyOnWriteFaults": 1_022,
			"userTimeTask": 0.25, "systemTimeTask": 0.125, "flags": []string{"darwinBG"},
			"waitInfo": []string{}, "turnstileInfo": []string{},
			"threadById": object{fmt.Sprint(tid): thread},
		}
	}
	return byPID, images
}

// stackBody adds the stacks of a stackshot.
func (c *Crashes) stackBody(b object) {
	b["processByPid"], b["binaryImages"] = c.kernelStacks()
	b["reason"], b["exception"] = "user-requested stackshot", "0xbaaaaaad"
	b["frontmostPids"], b["absoluteTime"] = []int{58}, int64(2_711_330_044_210)
	b["notes"] = []string{"Source: live"}
}

// panicBody adds the text of a panic of the kernel, and the stacks at that time.
func (c *Crashes) panicBody(b object) {
	b["processByPid"], b["binaryImages"] = c.kernelStacks()
	b["panicFlags"], b["otherString"] = "0x802", "\n** Stackshot Succeeded ** Bytes Traced 402112"
	b["notes"] = []string{"ca1 DarkBoot 0"}
	uuid := func(name string) string {
		return identity.UUIDText(identity.UUID(name, c.id.UDID, c.id.Build))
	}
	text := strings.Join([]string{
		"panic(cpu 2 caller 0xfffffff01a2b3c4d): userspace watchdog timeout: no successful " +
			"checkins from thermalmonitord in 180 seconds",
		"Debugger message: panic", "Memory ID: 0xff", "OS release type: User",
		"OS version: " + c.id.Build, "Kernel version: " + c.id.KernelVersion(),
		"Fileset Kernelcache UUID: " + strings.ReplaceAll(uuid("kernelcache"), "-", ""),
		"Kernel UUID: " + uuid("kernel"), "Boot session UUID: " + uuid("boot session"),
		"iBoot version: " + strings.TrimPrefix(c.id.IBoot, "iBoot-"), "secure boot?: YES",
		"roots installed: 0", "Paniclog version: 14",
		"Kernel slide:      0x0000000011a64000", "Kernel text base:  0xfffffff018a68000",
		"mach_absolute_time: 0x27747b8f2f2",
		"Epoch Time:        sec       usec",
		"  Boot    : 0x665d7a10 0x000b1c2e", "  Sleep   : 0x00000000 0x00000000",
		"  Wake    : 0x00000000 0x00000000", "  Calendar: 0x665f10a2 0x0003a1d0", "",
		"CORE 0: PC=0xfffffff01a1c2210, LR=0xfffffff01a1c220c, FP=0xffffffe81b0c3ef0",
		"CORE 2 is the one that panicked. Check the full backtrace for details.",
		"Compressor Info: 12% of compressed pages limit (OK) and 9% of segments limit (OK) with " +
			"2 swapfiles and OK swap space",
		"Panicked task 0xffffffe2a1b2c3d4: 1204 pages, 4 threads: pid 41: watchdogd",
		"Panicked thread: 0xffffffe2a1c8d0f8, backtrace: 0xffffffe81b2a36c0, tid: 812",
		"\t\t  lr: 0xfffffff01a11f0c4  fp: 0xffffffe81b2a3700",
		"\t\t  lr: 0xfffffff01a2b3c4d  fp: 0xffffffe81b2a3770", "",
	}, "\n")
	b["panicString"] = text
}
