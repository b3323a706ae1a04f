// Package tunneld is how programs share tunnels: a program that keeps tunnels
// to devices tells others of them over HTTP on the loopback interface. There is
// no standard; three programs have one API each. We serve the first two, so that
// foreign clients can use our tunnels, and use all three.
//
// pymobiledevice3's tunneld, at 127.0.0.1:49151 (also what idevice asks):
//
//	GET /                      {"UDID": [{"tunnel-address": "fd6c:7a1e:52b3::1", "tunnel-port": 58034,
//	                             "interface": "usbmux-UDID-USB"}], ...}
//	GET /start-tunnel?udid=U   {"interface": "usbmux-U-USB", "port": 58034, "address": "fd6c:7a1e:52b3::1"}
//	GET /cancel?udid=U, /clear_tunnels, /hello, /shutdown
//	GET, POST, DELETE /upstream
//
// go-ios' agent, at 127.0.0.1:60105:
//
//	GET /tunnels               [TUNNEL, ...]
//	GET, DELETE /tunnel/UDID   {"address": "fd6c:7a1e:52b3::1", "rsdPort": 58034, "udid": "UDID",
//	                             "userspaceTun": true, "userspaceTunPort": 60106}
//	GET /health, /ready, /shutdown
//
// appium's registry, at 127.0.0.1:42314:
//
//	GET /remotexpc/tunnels     {"tunnels": {"UDID": {"udid": "UDID", "address": .., "rsdPort": ..}}, "metadata": {..}}
//
// The first and the last name an address that their clients dial themselves,
// for the list of services (package rsd) and then for every service in it. The
// second may name a relay instead. A connection to that begins with where it
// shall go and is the device's from then on, without an answer:
//
//	address 16 bytes | port u32 little-endian
//
// Our tunnels end in this process, where no other can dial. On Linux, where all
// of 127/8 is loopback, each is given an address such as 127.77.3.9 and the same
// ports as the device has, so that its list of services is true there as well.
// Elsewhere the ports are others, on 127.0.0.1, and the list is ours. A port that
// a service opens later and tells its client of is reached through the go-ios
// relay alone.
package tunneld

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/link"
)

// Where each API is looked for.
const (
	PythonAddress = "127.0.0.1:49151"
	GoIOSAddress  = "127.0.0.1:60105"
	AppiumAddress = "127.0.0.1:42314"
)

// API is one of the ways to tell of tunnels, named after the program that has
// it.
type API string

// The APIs.
const (
	Python API = "pymobiledevice3"
	GoIOS  API = "go-ios"
	Appium API = "appium"
)

// Limits of what peers send.
const (
	maxAnswer   = 4 << 20  // a response's body; appium lists every service
	maxRequest  = 64 << 10 // a request's body
	maxUDID     = 128      // bytes of an identifier
	maxLabel    = 256      // bytes of an interface's name
	maxURL      = 2 << 10  // bytes of an upstream's URL
	maxListed   = 4096     // tunnels in an answer
	maxHeader   = 16 << 10 // bytes of HTTP headers
	preambleLen = 20
)

// registryPath is the root of appium's API.
const registryPath = "/remotexpc/tunnels"

// serverName is our Server header, by which Identify knows us.
const serverName = "imdlua-tunneld"

// listed is one tunnel in pymobiledevice3's GET /. Clients fail when one of
// the keys is missing.
type listed struct {
	Address   string `json:"tunnel-address"`
	Port      uint16 `json:"tunnel-port"`
	Interface string `json:"interface"`
}

// started is pymobiledevice3's answer to /start-tunnel: the same, spelt
// differently.
type started struct {
	Interface string `json:"interface"`
	Port      uint16 `json:"port"`
	Address   string `json:"address"`
}

// agentTunnel is go-ios' description of a tunnel.
type agentTunnel struct {
	Address   string `json:"address"`
	RSDPort   uint16 `json:"rsdPort"`
	UDID      string `json:"udid"`
	Userspace bool   `json:"userspaceTun"`
	RelayPort uint16 `json:"userspaceTunPort"`
}

// registryEntry is what we read of appium's description of a tunnel.
type registryEntry struct {
	UDID    string `json:"udid"`
	Address string `json:"address"`
	RSDPort uint16 `json:"rsdPort"`
}

// appendPreamble appends where a relayed connection shall go.
func appendPreamble(b []byte, to netip.Addr, port uint16) []byte {
	a := to.As16()
	b = append(b, a[:]...)
	return binary.LittleEndian.AppendUint32(b, uint32(port))
}

// decodePreamble reads where a relayed connection shall go.
func decodePreamble(b []byte) (to [16]byte, port uint16, err error) {
	if len(b) != preambleLen {
		return to, 0, fmt.Errorf("preamble of %d bytes, not %d", len(b), preambleLen)
	}
	n := binary.LittleEndian.Uint32(b[16:])
	if n == 0 || n > 1<<16-1 {
		return to, 0, fmt.Errorf("preamble asks for port %d", n)
	}
	return [16]byte(b[:16]), uint16(n), nil
}

// decodeList reads pymobiledevice3's GET /. Tunnels of one device keep their
// order, since clients take the first.
func decodeList(b []byte) ([]Entry, error) {
	var devices map[string][]listed
	if err := json.Unmarshal(b, &devices); err != nil {
		return nil, answerError(err)
	}
	if devices == nil {
		return nil, answerError(errors.New("null in place of an object"))
	}
	var list []Entry
	for _, udid := range slices.Sorted(maps.Keys(devices)) {
		for _, t := range devices[udid] {
			e, err := newEntry(Python, udid, t.Address, t.Port)
			if err != nil {
				return nil, err
			}
			if e.Interface, err = label(t.Interface); err != nil {
				return nil, err
			}
			list = append(list, e)
		}
	}
	return bounded(list)
}

// decodeTunnels reads go-ios' GET /tunnels, where null is an empty list.
func decodeTunnels(b []byte) ([]Entry, error) {
	var tunnels []agentTunnel
	if err := json.Unmarshal(b, &tunnels); err != nil {
		return nil, answerError(err)
	}
	var list []Entry
	for _, t := range tunnels {
		e, err := newEntry(GoIOS, t.UDID, t.Address, t.RSDPort)
		if err != nil {
			return nil, err
		}
		if t.Userspace {
			if e.RelayPort = t.RelayPort; e.RelayPort == 0 {
				return nil, answerError(
					fmt.Errorf("device %q: userspaceTun without a port", link.Clip(t.UDID)),
				)
			}
		}
		list = append(list, e)
	}
	return bounded(list)
}

// decodeRegistry reads appium's list.
func decodeRegistry(b []byte) ([]Entry, error) {
	var r struct {
		Tunnels map[string]registryEntry `json:"tunnels"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, answerError(err)
	}
	if r.Tunnels == nil {
		return nil, answerError(errors.New(`no "tunnels"`))
	}
	var list []Entry
	for _, udid := range slices.Sorted(maps.Keys(r.Tunnels)) {
		t := r.Tunnels[udid]
		e, err := newEntry(Appium, udid, t.Address, t.RSDPort)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return bounded(list)
}

// decodeStarted reads pymobiledevice3's answer to /start-tunnel.
func decodeStarted(udid string, b []byte) (Entry, error) {
	var s started
	if err := json.Unmarshal(b, &s); err != nil {
		return Entry{}, answerError(err)
	}
	e, err := newEntry(Python, udid, s.Address, s.Port)
	if err != nil {
		return Entry{}, err
	}
	if e.Interface, err = label(s.Interface); err != nil {
		return Entry{}, err
	}
	return e, nil
}

// label checks the name of an interface.
func label(s string) (string, error) {
	if len(s) > maxLabel {
		return "", answerError(fmt.Errorf("interface of %d bytes", len(s)))
	}
	return s, nil
}

func bounded(list []Entry) ([]Entry, error) {
	if len(list) > maxListed {
		return nil, answerError(
			fmt.Errorf("%d tunnels, over the limit of %d", len(list), maxListed),
		)
	}
	return list, nil
}

// newEntry checks what every API says of a tunnel.
func newEntry(api API, udid, address string, port uint16) (Entry, error) {
	a, err := netip.ParseAddr(address)
	switch {
	case udid == "":
		return Entry{}, answerError(errors.New("tunnel without a device"))
	case len(udid) > maxUDID:
		return Entry{}, answerError(fmt.Errorf("identifier of %d bytes", len(udid)))
	case err != nil:
		return Entry{}, answerError(
			fmt.Errorf("device %q: address %q is none", link.Clip(udid), link.Clip(address)),
		)
	case port == 0:
		return Entry{}, answerError(fmt.Errorf("device %q: no port", link.Clip(udid)))
	}
	return Entry{UDID: udid, Address: a, RSDPort: port, API: api}, nil
}

// SameUDID reports whether two spellings mean the same device: case and dash
// do not count.
func SameUDID(a, b string) bool { return plainUDID(a) == plainUDID(b) }

func plainUDID(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }

var (
	// ErrUnknownAPI is the cause of an Error when something answers that speaks
	// none of the APIs.
	ErrUnknownAPI = link.Malformed("speaks none of the known APIs")
	// ErrAnswer is the cause of an Error when an answer is not as the API has
	// it.
	ErrAnswer = link.Malformed("answer is not understood")
	// ErrNotLoopback is the cause of an Error when a server without a token
	// shall listen where other machines can ask it.
	ErrNotLoopback = errors.New("listens beyond loopback without a token")
	// ErrItself says that an upstream is the server that shall ask it.
	ErrItself = errors.New("is this server itself")
)

func answerError(err error) error { return fmt.Errorf("%w: %w", ErrAnswer, clipped{err}) }

// clipped is an error whose text may quote what a peer sent. It is kept short.
type clipped struct{ error }

func (c clipped) Error() string { return link.Clip(c.error.Error()) }
func (c clipped) Unwrap() error { return c.error }

// Error is every failure of the package.
type Error struct {
	// Op is what was tried: "list", "start", "find", "identify", "dial",
	// "connect", "serve", "expose", "reach", "relay".
	Op string
	// Address is the server's, HOST:PORT, or that of the device in the tunnel.
	Address string
	// Status is that of an HTTP answer which refuses, 0 when the cause is Err.
	Status int
	// Text is what such an answer says.
	Text string
	// Err is the cause.
	Err error
}

// Error says `tunneld: start 127.0.0.1:49151: 501 Not Implemented: task not
// created`.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("tunneld: " + e.Op)
	if e.Address != "" {
		b.WriteString(" " + link.Clip(e.Address))
	}
	if e.Status != 0 {
		b.WriteString(
			": " + strings.TrimSpace(strconv.Itoa(e.Status)+" "+http.StatusText(e.Status)),
		)
	}
	if e.Text != "" {
		b.WriteString(": " + link.Clip(e.Text))
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is maps refusals to the general errors of io/fs: a wrong token is
// fs.ErrPermission, a device without a tunnel fs.ErrNotExist.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrPermission:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	case fs.ErrNotExist:
		return e.Op == "start" &&
			(e.Status == http.StatusNotFound || e.Status == http.StatusNotImplemented)
	}
	return false
}
