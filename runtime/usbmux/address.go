package usbmux

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
)

const (
	defaultSocket = "/var/run/usbmuxd"
	defaultTCP    = "127.0.0.1:27015"
)

// ParseAddress parses the address of a multiplexer in every form that other programs
// accept in USBMUXD_SOCKET_ADDRESS. It returns the arguments of net.Dial and
// net.Listen:
//
//	127.0.0.1:27015  host.name:5000  [::1]:5000  tcp://host:5000
//	/tmp/mux.sock  ./mux.sock  UNIX:/tmp/mux.sock  unix:///tmp/mux.sock
//
// Every other form is an error. Several clients silently use the default socket for a
// form that they do not know, and then talk to the wrong daemon.
func ParseAddress(s string) (network, address string, err error) {
	network, address, err = parseAddress(s)
	if err != nil {
		return "", "", &Error{Op: "parse address", Subject: strconv.Quote(s), Err: err}
	}
	return network, address, nil
}

func parseAddress(s string) (network, address string, err error) {
	switch {
	case s == "":
		return "", "", errors.New("empty")
	case hasPrefixFold(s, "unix:"):
		return parseUnix(s[len("unix:"):])
	case hasPrefixFold(s, "tcp://"):
		return parseTCP(strings.TrimSuffix(s[len("tcp://"):], "/"))
	case strings.Contains(s, "://"):
		return "", "", errors.New("unknown scheme, want tcp or unix")
	case strings.HasPrefix(s, "/"), strings.HasPrefix(s, "./"), strings.HasPrefix(s, "../"):
		return parseUnix(s)
	}
	return parseTCP(s)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func parseUnix(p string) (network, address string, err error) {
	if rest, ok := strings.CutPrefix(p, "//"); ok {
		if !strings.HasPrefix(rest, "/") {
			return "", "", errors.New("the path of a unix:// address must begin with a slash")
		}
		p = path.Clean(rest)
	}
	if p == "" || strings.HasSuffix(p, "/") {
		return "", "", errors.New("no path of a socket")
	}
	if strings.ContainsRune(p, 0) {
		return "", "", errors.New("path holds a NUL")
	}
	return "unix", p, nil
}

func parseTCP(s string) (network, address string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", "", errors.New(
			"want host:port, [ipv6]:port, a path, UNIX:path or tcp://host:port",
		)
	}
	if strings.ContainsAny(host, "/\\ \x00") {
		return "", "", fmt.Errorf("%q is not a host name", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", fmt.Errorf("port %q is not a number from 0 to 65535", port)
	} else {
		port = strconv.FormatUint(n, 10)
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

// DefaultAddress returns the default address of the multiplexer on a system, which is
// named as GOOS.
func DefaultAddress(goos string) string {
	if goos == "windows" || goos == "linux" && underWindows() {
		return defaultTCP
	}
	return defaultSocket
}

// underWindows reports whether this is Linux inside Windows without a usbmuxd of its
// own. The devices are then connected to the service on the Windows side.
func underWindows() bool {
	if _, err := os.Stat(defaultSocket); err == nil {
		return false
	}
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	return err == nil && isWindowsKernel(string(b))
}

func isWindowsKernel(release string) bool {
	release = strings.ToLower(release)
	return strings.Contains(release, "microsoft") || strings.Contains(release, "wsl")
}
