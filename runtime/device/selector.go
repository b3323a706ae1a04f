package device

import (
	"bytes"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/device/route"
)

// Selector chooses devices. An empty field matches every device. Name and Model may be
// lists of shell patterns, separated by commas.
type Selector struct {
	UDID      string // with or without the dash, any case; or the WiFiAddress
	Name      string
	Model     string // ProductType
	OS        string // such as ">=17.0", "<18" or "16.7"; conditions joined by commas must all hold
	Transport string // kind of a route: "usb", "wifi" or "tunnel"
	// Network includes the devices on the network, for which a search takes a second or
	// two. If it is false, the network is searched only for Transport "wifi" and if no
	// muxer has a device that matches.
	Network bool
	Match   func(Info) bool
}

// Check returns an error if the selector is malformed, so that it cannot match
// anything.
func (s Selector) Check() error {
	for _, p := range append(strings.Split(s.Name, ","), strings.Split(s.Model, ",")...) {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("device: bad pattern %q", p)
		}
	}
	for _, c := range strings.Split(s.OS, ",") {
		if _, v := splitComparison(c); s.OS != "" && !isVersion(v) {
			return fmt.Errorf("device: bad version condition %q (write it like >=17.0)", c)
		}
	}
	return nil
}

// Matches reports whether a device fulfils all conditions of the selector.
func (s Selector) Matches(i Info) bool {
	if !s.Names(i) {
		return false
	}
	onRoute := func(r Route) bool { return r.Kind == s.Transport }
	if s.Transport != "" && !slices.ContainsFunc(i.Routes, onRoute) {
		return false
	}
	if !matchPattern(s.Name, i.Name) || !matchModel(s.Model, i.ProductType) {
		return false
	}
	if !matchVersion(s.OS, i.Version) {
		return false
	}
	return s.Match == nil || s.Match(i)
}

// Names reports whether the selector's UDID is that of a device, or its WiFiAddress. It is
// true if the selector has none.
func (s Selector) Names(i Info) bool {
	if mac := parseMAC(s.UDID); mac != nil {
		return bytes.Equal(mac, parseMAC(i.WiFiAddress))
	}
	return s.UDID == "" || foldUDID(s.UDID) == foldUDID(i.UDID)
}

// IsWiFiAddress reports whether a text is a MAC address.
func IsWiFiAddress(s string) bool { return parseMAC(s) != nil }

// parseMAC returns the 6 bytes of a MAC address, or nil.
func parseMAC(s string) []byte {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil
	}
	return mac
}

func foldUDID(u string) string { return strings.ToLower(strings.ReplaceAll(u, "-", "")) }

func matchPattern(pattern, name string) bool {
	if pattern == "" || pattern == name {
		return true
	}
	for _, p := range strings.Split(pattern, ",") {
		if ok, _ := path.Match(strings.TrimSpace(p), name); ok {
			return true
		}
	}
	return false
}

// matchModel does not split a product type, such as "iPhone15,2", at its comma.
func matchModel(pattern, model string) bool {
	ok, _ := path.Match(pattern, model)
	return pattern == "" || ok
}

func splitComparison(c string) (op, version string) {
	c = strings.TrimSpace(c)
	for _, op := range []string{">=", "<=", "==", ">", "<", "="} {
		if rest, ok := strings.CutPrefix(c, op); ok {
			return op, strings.TrimSpace(rest)
		}
	}
	return "", c
}

func isVersion(v string) bool {
	for _, p := range strings.Split(v, ".") {
		if _, err := strconv.Atoi(p); err != nil {
			return false
		}
	}
	return true
}

// matchVersion reports whether a version satisfies conditions such as ">=17.0,<18". A
// version without an operator, such as "17.4", also matches 17.4.1.
func matchVersion(condition, version string) bool {
	if condition == "" {
		return true
	}
	for _, c := range strings.Split(condition, ",") {
		op, want := splitComparison(c)
		cmp := route.CompareVersions(version, want)
		ok := map[string]bool{">=": cmp >= 0, "<=": cmp <= 0, ">": cmp > 0, "<": cmp < 0,
			"=": cmp == 0, "==": cmp == 0,
			"": version == want || strings.HasPrefix(version, want+".")}[op]
		if !ok || version == "" {
			return false
		}
	}
	return true
}
