package phone

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/crashes"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

// rootPaths are directories that exist although this package knows no file in
// them. Those that end in a star cannot be listed.
var rootPaths = []string{
	"/Applications", "/Developer/Library", "/Developer/usr/bin", "/Library/Caches",
	"/Library/Managed Preferences",
	"/System/Library/Frameworks", "/bin", "/cores", "/dev", "/etc", "/private/etc",
	"/private/preboot", "/private/tmp",
	"/private/var/containers/Bundle", "/private/var/log", "/private/var/mobile/Library/Preferences",
	"/private/var/mobile/Media", "/private/var/root/*", "/private/var/mobile/Containers/Data/*",
	"/private/var/tmp",
	"/private/var/mobile/Library/Logs/CrashReporter", "/tmp", "/usr/lib", "/usr/share", "/var",
}

// ListDirectory lists a directory anywhere on the phone, if developers may list it.
// The causes of failure are fs.ErrNotExist and fs.ErrPermission.
func (p *Phone) ListDirectory(dir string) ([]string, error) {
	names, err := p.listDirectory(dir)
	if err != nil {
		return nil, failure.Wrap("list directory", dir, err)
	}
	return names, nil
}

func (p *Phone) listDirectory(dir string) ([]string, error) {
	if !strings.HasPrefix(dir, "/") || len(dir) > files.MaxPath {
		return nil, fs.ErrNotExist
	}
	dir = path.Clean(dir)
	for _, link := range []string{"/var", "/tmp", "/etc"} {
		if dir == link || strings.HasPrefix(dir, link+"/") {
			dir = "/private" + dir
		}
	}
	for root, tree := range map[string]*files.FS{
		"/private/var/mobile/Media":                        p.Media,
		"/private" + strings.TrimSuffix(crashes.Root, "/"): p.Crashes.Files,
	} {
		if rest, ok := strings.CutPrefix(dir+"/", root+"/"); ok {
			return tree.ReadDir("/" + rest)
		}
	}
	prefix := strings.TrimSuffix(dir, "/") + "/"
	names, known := map[string]struct{}{}, dir == "/"
	for _, full := range p.paths() {
		if full == dir {
			known = true
		}
		rest, ok := strings.CutPrefix(full, prefix)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "/")
		if name == "*" {
			return nil, fs.ErrPermission
		}
		known = true
		names[name] = struct{}{}
	}
	if !known {
		return nil, fs.ErrNotExist
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// paths returns all known paths outside of the file trees.
func (p *Phone) paths() []string {
	out := append(slices.Clone(rootPaths), processes.DaemonPaths()...)
	for _, a := range p.Apps.List() {
		out = append(out, a.Executable(), a.Path()+"/Info.plist",
			a.Path()+"/_CodeSignature/CodeResources")
	}
	return out
}

// executableOf returns the path of the executable of an installed app.
func (p *Phone) executableOf(bundleID string) (string, bool) {
	a, ok := p.Apps.Find(bundleID)
	if !ok {
		return "", false
	}
	return a.Executable(), true
}

// checkExecutable returns nil if an app has its executable at the path, fs.ErrPermission
// if something else is there, else fs.ErrNotExist.
func (p *Phone) checkExecutable(file string) error {
	for _, a := range p.Apps.List() {
		if a.Executable() == file {
			return nil
		}
	}
	if _, err := p.listDirectory(file); err == nil || slices.Contains(p.paths(), file) {
		return fs.ErrPermission
	}
	return fs.ErrNotExist
}

// senderByPID returns a process as a sender of log entries.
func (p *Phone) senderByPID(pid int) (log.Sender, bool) {
	proc, ok := p.Processes.Find(pid)
	return log.Sender{PID: proc.PID, Path: proc.Path, UUID: proc.UUID}, ok
}

// senderByName returns a process as a sender of log entries.
func (p *Phone) senderByName(name string) (log.Sender, bool) {
	proc, ok := p.Processes.Named(name)
	return log.Sender{PID: proc.PID, Path: proc.Path, UUID: proc.UUID}, ok
}

// NetworkInterfaces describes the network interfaces by their BSD names.
func (p *Phone) NetworkInterfaces() map[string]string {
	return map[string]string{"en0": "Wi-Fi", "en1": "Ethernet Adaptor (en1)",
		"en2": "Ethernet Adaptor (en2)",
		"lo0": "Loopback", "pdp_ip0": "Cellular (pdp_ip0)", "awdl0": "AirDrop",
		"utun0": "VPN (utun0)"}
}
