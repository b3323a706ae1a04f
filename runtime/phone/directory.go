package phone

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// rootPaths are directories that are there without a file that this package
// knows. Those that end in a star answer nobody.
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

// ListDirectory lists a directory anywhere on the phone, as far as a developer
// may see it. The causes are fs.ErrNotExist and fs.ErrPermission.
func (p *Phone) ListDirectory(dir string) ([]string, error) {
	names, err := p.listDirectory(dir)
	if err != nil {
		return nil, fail("list directory", dir, err)
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
		"/private/var/mobile/Media":                     p.media,
		"/private" + strings.TrimSuffix(crashRoot, "/"): p.crash,
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

// paths lists all paths outside of the trees.
func (p *Phone) paths() []string {
	out := slices.Clone(rootPaths)
	for _, d := range daemons {
		out = append(out, d.path)
	}
	for _, a := range p.Apps() {
		out = append(out, a.daemon().path, a.Path()+"/Info.plist",
			a.Path()+"/_CodeSignature/CodeResources")
	}
	return out
}

// NetworkInterfaces describes the network interfaces by their BSD names.
func (p *Phone) NetworkInterfaces() map[string]string {
	return map[string]string{"en0": "Wi-Fi", "en1": "Ethernet Adaptor (en1)",
		"en2": "Ethernet Adaptor (en2)",
		"lo0": "Loopback", "pdp_ip0": "Cellular (pdp_ip0)", "awdl0": "AirDrop",
		"utun0": "VPN (utun0)"}
}

var userNames = map[int]string{-2: "nobody", 0: "root", 1: "daemon", 24: "_networkd",
	25: "_wireless", 33: "_installd",
	64: "_securityd", 65: "_mdnsresponder", 98: "_trustd", 205: "_locationd", 263: "_analyticsd",
	266: "_timed", 282: "_amfid", 501: "mobile"}

var groupNames = map[int]string{
	-2: "nobody", 0: "wheel", 1: "daemon", 2: "kmem", 20: "staff", 29: "certusers", 80: "admin",
	501: "mobile",
}

// UserName returns the name of a user identifier.
func (p *Phone) UserName(uid int) (string, bool) { name, ok := userNames[uid]; return name, ok }

// GroupName returns the name of a group identifier.
func (p *Phone) GroupName(gid int) (string, bool) { name, ok := groupNames[gid]; return name, ok }

// UserID returns the identifier of a user's name, that of nobody if there is
// no such user.
func UserID(name string) int {
	for id, n := range userNames {
		if n == name {
			return id
		}
	}
	return -2
}
