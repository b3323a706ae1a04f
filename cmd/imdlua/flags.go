package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/tunneld"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// globals are the flags of every command.
type globals struct {
	device  string
	usbmux  []string
	virtual string
	rsd     string // host:port
	tunnel  optional
	tunneld string
	noPair  bool
	timeout seconds
	trace   []string
	errors  string
	verbose bool

	maxMemory, maxString size
	maxInstructions      count

	env func(string) (string, bool)
}

// tunneldAddress returns the address of the tunneld that --tunnel uses.
func (g *globals) tunneldAddress() string {
	if g.tunneld != "" {
		return g.tunneld
	}
	if a, ok := g.env("IMD_TUNNELD"); ok && a != "" {
		return a
	}
	return tunneld.PythonAddress
}

// defaultProfile is the profile of --virtual without a value.
const defaultProfile = "ios17"

func (g *globals) register(f *pflag.FlagSet, env func(string) (string, bool)) {
	g.device, _ = env("IMD_DEVICE")
	g.env = env
	f.StringVarP(&g.device, "device", "u", g.device,
		"UDID, Wi-Fi address or name of the `device` to use (or IMD_DEVICE)")
	f.StringArrayVar(&g.usbmux, "usbmux", nil,
		"usbmuxd `address`: unix:PATH or HOST:PORT, repeatable (or USBMUXD_SOCKET_ADDRESS)")
	f.StringVar(&g.virtual, "virtual", "",
		"use a virtual device of this process with the `profile` "+
			strings.Join(identity.Profiles(), ", "))
	f.Lookup("virtual").NoOptDefVal = defaultProfile
	f.StringVar(&g.rsd, "rsd", "", "use only the list of services (RSD) at this `host port`, which "+
		"the tunnel of another program makes reachable")
	f.Var(&g.tunnel, "tunnel",
		"use a tunnel of a tunneld: the one to the device with this `UDID`, or '' for any")
	f.Lookup("tunnel").NoOptDefVal = anyTunnel
	f.StringVar(&g.tunneld, "tunneld", "", "`address` of the tunneld for --tunnel, "+
		tunneld.PythonAddress+" by default (or IMD_TUNNELD)")
	f.BoolVar(&g.noPair, "no-pair", false, "never pair, so that no device shows a Trust dialog; "+
		"values of a device that is not paired are read without a session")
	f.Var(&g.timeout, "timeout", "end the run after this number of `seconds` (or 2m, 1h)")
	g.registerLimits(f)
	f.StringSliceVar(&g.trace, "trace", nil,
		"log the work of these `layers` to standard error: lockdown,usbmux,... or all")
	f.StringVar(&g.errors, "errors", "text", "how errors are reported: text or json")
	f.BoolVar(&g.verbose, "verbose", false, "more detail in warnings and errors")
}

// check checks the flags before anything is opened.
func (g *globals) check() error {
	if g.errors != "text" && g.errors != "json" {
		bad := g.errors
		g.errors = "text"
		return usageError("--errors is text or json, not %q", bad)
	}
	if g.virtual != "" && !slices.Contains(identity.Profiles(), g.virtual) {
		return usageError("there is no profile %q; there are %s", g.virtual,
			strings.Join(identity.Profiles(), ", "))
	}
	for _, a := range g.usbmux {
		if _, _, err := usbmux.ParseAddress(a); err != nil {
			return usageError("--usbmux: %v", err)
		}
	}
	if err := g.selector().Check(); err != nil {
		return usageError("--device: %v", err)
	}
	return g.checkRoutes()
}

// checkRoutes checks the flags that choose a route, some of which exclude each other.
func (g *globals) checkRoutes() error {
	if _, _, err := splitHost(g.rsd); g.rsd != "" && err != nil {
		return usageError("--rsd takes a host and a port, not %q", g.rsd)
	}
	if u := g.tunnel.value; u != "" && !isUDID(u) {
		return usageError("--tunnel takes a UDID, or '' for any, not %q", u).
			WithHint("a name goes into --device")
	}
	var given []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"--virtual", g.virtual != ""},
		{"--usbmux", len(g.usbmux) > 0},
		{"--rsd", g.rsd != ""},
		{"--tunnel", g.tunnel.given},
	} {
		if f.set {
			given = append(given, f.name)
		}
	}
	if len(given) > 1 && (g.rsd != "" || g.tunnel.given) {
		return usageError("%s exclude each other", strings.Join(given, " and "))
	}
	if g.tunneld != "" && !g.tunnel.given {
		return usageError("--tunneld can only be used with --tunnel")
	}
	if _, _, err := net.SplitHostPort(g.tunneldAddress()); err != nil && g.tunnel.given {
		return usageError("the address of a tunneld is HOST:PORT, not %q",
			g.tunneldAddress())
	}
	return nil
}

// oneDevice reports whether the flags name one device, or the user can be asked for it.
func (g *globals) oneDevice(canAsk bool) bool {
	return g.device != "" || g.virtual != "" || g.rsd != "" ||
		g.tunnel.given && (canAsk || g.tunnel.value != "")
}

// noTunnel returns an error if flags choose the tunnel of another program. Some commands need more
// than a tunnel: a peer in a tunnel is trusted already, and a tunnel reports no other devices.
func (g *globals) noTunnel(command string) error {
	for name, given := range map[string]bool{"--rsd": g.rsd != "", "--tunnel": g.tunnel.given} {
		if given {
			return usageError("%s cannot use the tunnel of another program: "+
				"leave out %s", command, name)
		}
	}
	return nil
}

// anyTunnel is the value of --tunnel if none is given.
const anyTunnel = "any"

// optional is the value of a flag that may be given without one.
type optional struct {
	given bool
	value string
}

func (o *optional) Set(text string) error {
	o.given, o.value = true, text
	if text == anyTunnel {
		o.value = ""
	}
	return nil
}

func (o *optional) String() string { return o.value }

// Type returns the name of the value in the help text.
func (o *optional) Type() string { return "string" }

// joinValues joins "--rsd HOST PORT" and "--tunnel UDID" to one argument each, because pflag does
// not support flags with two values or with an optional one. It does not change the arguments of a
// script.
func joinValues(root *cobra.Command, args []string) []string {
	var out []string
	code, command := false, false
	for i := 0; i < len(args); i++ {
		a := args[i]
		rest := args[i+1:]
		switch {
		case a == "--":
			return append(out, args[i:]...)
		case a == "--rsd" && len(rest) > 1 && isNumber(rest[1]) && !isAddressWithPort(rest[0]):
			address := net.JoinHostPort(strings.Trim(rest[0], "[]"), rest[1])
			out = append(out, "--rsd="+address)
			i += 2
		case a == "--tunnel" && len(rest) > 0 && (rest[0] == "" || isUDID(rest[0])):
			out = append(out, "--tunnel="+rest[0])
			i++
		case command || isFlag(a) || valueOf(root, args, i):
			code = code || a == "--execute" || strings.HasPrefix(a, "--execute=") ||
				strings.HasPrefix(a, "-e")
			out = append(out, a)
		case !code && isCommand(root, a):
			command = true
			out = append(out, a)
		default:
			return append(out, args[i:]...) // a script and its arguments
		}
	}
	return out
}

// isFlag reports whether an argument is a flag. A single dash is a script.
func isFlag(a string) bool { return len(a) > 1 && a[0] == '-' }

// valueOf reports whether an argument is the value of the flag before it.
func valueOf(root *cobra.Command, args []string, i int) bool {
	if i == 0 {
		return false
	}
	before := args[i-1]
	if !isFlag(before) || strings.Contains(before, "=") {
		return false
	}
	name := strings.TrimLeft(before, "-")
	f := root.PersistentFlags().Lookup(name)
	if f == nil {
		f = root.Flags().Lookup(name)
	}
	if f == nil && len(name) == 1 {
		f = root.PersistentFlags().ShorthandLookup(name)
	}
	if f == nil && len(name) == 1 {
		f = root.Flags().ShorthandLookup(name)
	}
	return f != nil && f.NoOptDefVal == ""
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

func isAddressWithPort(s string) bool {
	_, err := netip.ParseAddrPort(s)
	return err == nil
}

// splitHost splits HOST:PORT.
func splitHost(s string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, " /") {
		return "", 0, errors.New("the host is missing, or the port is not between 1 and 65535")
	}
	return host, uint16(n), nil
}

// isUDID reports whether a text is 40 hex digits, or 8 and 16 hex digits with a dash between them.
func isUDID(s string) bool {
	digits := strings.Replace(s, "-", "", 1)
	hex := strings.Trim(strings.ToLower(digits), "0123456789abcdef") == ""
	return hex && (len(digits) == 40 || len(digits) == 24)
}

func (g *globals) errorsJSON() bool { return g.errors == "json" }

// selector returns the UDID, Wi-Fi address or name that --device gives, or else the UDID that
// --tunnel gives.
func (g *globals) selector() device.Selector {
	if g.device == "" && g.tunnel.value != "" {
		return device.Selector{UDID: g.tunnel.value}
	}
	if isUDID(g.device) || device.IsWiFiAddress(g.device) {
		return device.Selector{UDID: g.device}
	}
	return device.Selector{Name: g.device}
}

// seconds is a duration that is written as a number of seconds or as in Go.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e9 {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("want a number of seconds, or a duration such as 2m")
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type returns the name of the value in the help text.
func (s *seconds) Type() string { return "seconds" }
