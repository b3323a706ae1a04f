package main

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// globals are the flags of every command.
type globals struct {
	device  string
	usbmux  []string
	virtual string
	timeout seconds
	trace   []string
	errors  string
	verbose bool
}

// defaultProfile is what --virtual without a name stands for.
const defaultProfile = "ios17"

func (g *globals) register(f *pflag.FlagSet, env func(string) (string, bool)) {
	g.device, _ = env("IMD_DEVICE")
	f.StringVarP(&g.device, "device", "u", g.device, "UDID or name of the `device` to use (or IMD_DEVICE)")
	f.StringArrayVar(&g.usbmux, "usbmux", nil, "usbmuxd `address`: unix:PATH or HOST:PORT, repeatable (or USBMUXD_SOCKET_ADDRESS)")
	f.StringVar(&g.virtual, "virtual", "", "use a virtual device inside this process; `profile`: "+strings.Join(phone.Profiles(), ", "))
	f.Lookup("virtual").NoOptDefVal = defaultProfile
	f.Var(&g.timeout, "timeout", "end the whole run after so many `seconds` (or 2m, 1h)")
	f.StringSliceVar(&g.trace, "trace", nil, "write what these `layers` do to standard error: lockdown,usbmux,... or all")
	f.StringVar(&g.errors, "errors", "text", "how errors are reported: text or json")
	f.BoolVar(&g.verbose, "verbose", false, "more detail in warnings and errors")
}

// check finds mistakes before anything is opened.
func (g *globals) check() error {
	if g.errors != "text" && g.errors != "json" {
		bad := g.errors
		g.errors = "text"
		return usageError("--errors is text or json, not %q", bad)
	}
	if g.virtual != "" && !slices.Contains(phone.Profiles(), g.virtual) {
		return usageError("there is no profile %q; there are %s", g.virtual, strings.Join(phone.Profiles(), ", "))
	}
	for _, a := range g.usbmux {
		if _, _, err := usbmux.ParseAddress(a); err != nil {
			return usageError("--usbmux: %v", err)
		}
	}
	if err := g.selector().Check(); err != nil {
		return usageError("--device: %v", err)
	}
	return nil
}

func (g *globals) errorsJSON() bool { return g.errors == "json" }

// selector is what --device asks for. A UDID is 40 hex digits, or 8 and 16
// with a dash between; all else is a name.
func (g *globals) selector() device.Selector {
	digits := strings.Replace(g.device, "-", "", 1)
	hex := strings.Trim(strings.ToLower(digits), "0123456789abcdef") == ""
	if hex && (len(digits) == 40 || len(digits) == 24) {
		return device.Selector{UDID: g.device}
	}
	return device.Selector{Name: g.device}
}

// seconds is a duration that is written as a number of seconds or as Go does.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e9 {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return usageError("want seconds, or a time like 2m")
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

// Type is how help calls the value.
func (s *seconds) Type() string { return "seconds" }

// lockedWriter lets a script's host, the log and the program itself write to
// one stream.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func locked(w io.Writer) io.Writer { return lockedWriter{new(sync.Mutex), w} }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
