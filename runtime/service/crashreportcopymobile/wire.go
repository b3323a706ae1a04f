// Package crashreportcopymobile reads and removes a device's crash reports. It
// is AFC with the root at /var/mobile/Library/Logs/CrashReporter; see package
// afc for the exchange, and crashreportmover for what to do before.
//
//	-> ReadDir  "/"     <- Data  ".", "..", "Retired", "SpringBoard-2024-01-01-120000.ips" ...
package crashreportcopymobile

import (
	"path"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the crash report service.
var Service = service.Name{
	Lockdown: "com.apple.crashreportcopymobile",
	Remote:   "com.apple.crashreportcopymobile.shim.remote",
	Checkin:  true,
	Escrow:   true,
}

// Report is one file among the crash reports.
type Report struct {
	Path    string // from the root, with a slash first
	Process string // as the name tells it; empty for other names
	Time    time.Time
	Size    int64
}

// processOf reads the process from <Process>-YYYY-MM-DD-HHMMSS[.suffix].ips.
func processOf(file string) string {
	const stamp = "-2006-01-02-150405"
	name := path.Base(file)
	for i := 1; i+len(stamp) <= len(name); i++ {
		if name[i] != '-' {
			continue
		}
		rest := name[i+len(stamp):]
		if rest != "" && rest[0] != '.' && rest[0] != '-' {
			continue
		}
		if _, err := time.Parse(stamp, name[i:i+len(stamp)]); err == nil {
			return name[:i]
		}
	}
	return ""
}

// kept is what a device does not let go: Clear passes it over.
func kept(file string) bool {
	return strings.HasPrefix(path.Join("/", file), "/com.apple.appstored")
}
