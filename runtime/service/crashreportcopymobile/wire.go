// Package crashreportcopymobile reads and removes the crash reports of a device. The
// protocol is AFC with the root at /var/mobile/Library/Logs/CrashReporter. Package afc
// shows the exchange. Package crashreportmover has to run before, so that pending
// reports are included.
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
	Path    string // from the root, beginning with a slash
	Process string // taken from the file name; empty if the name has another form
	Time    time.Time
	Size    int64
}

// processOf returns the process of a file that is named
// <Process>-YYYY-MM-DD-HHMMSS[.suffix].ips.
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

// kept reports whether devices are known to refuse the removal of the file. Clear
// ignores it.
func kept(file string) bool {
	return strings.HasPrefix(path.Join("/", file), "/com.apple.appstored")
}
