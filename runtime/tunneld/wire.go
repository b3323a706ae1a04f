// Package tunneld shares tunnels between programs. A program that keeps tunnels to
// devices lists them over HTTP on the loopback interface. There is no standard for
// this; three programs have an API each. Server serves the first two, so that foreign
// clients can use our tunnels. Client speaks all three.
//
// pymobiledevice3's tunneld, at 127.0.0.1:49151 (also what idevice asks):
//
//	GET /                      {"UDID": [{"tunnel-address": "fd6c:7a1e:52b3::1", "tunnel-port": 58034,
//	                             "interface": "usbmux-UDID-USB"}], ...}
//	GET /start-tunnel?udid=U   {"interface": "usbmux-U-USB", "port": 58034, "address": "fd6c:7a1e:52b3::1"}
//	GET /cancel?udid=U, /clear_tunnels, /hello, /shutdown
//	GET, POST, DELETE /upstream
//	GET /connect?udid=U&port=P a WebSocket with one connection into the tunnel (bridge.go)
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
// The APIs of pymobiledevice3 and appium name an address that their clients dial
// themselves, first for the list of services (package rsd) and then for every service
// in it. The API of go-ios may name a relay instead. A client of the relay first sends
// the address and the port to connect to. The relay does not answer this; the bytes
// that follow are those of the connection to the device:
//
//	address 16 bytes | port u32 little-endian
//
// Our tunnels end in this process, so no other program can dial the device's address.
// On Linux the whole of 127/8 is loopback, and each tunnel gets an address such as
// 127.77.3.9 that listens on the same ports as the device. The device's own list of
// services is then right for this address too. On other systems the server listens on
// other ports of 127.0.0.1 and sends a list in which the ports are replaced. Ports that
// are not listed are reached through the go-ios relay, the WebSocket, or a Proxy.
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

// The default address of each API.
const (
	PythonAddress = "127.0.0.1:49151"
	GoIOSAddress  = "127.0.0.1:60105"
	AppiumAddress = "127.0.0.1:42314"
)

// API names an API by the program that it comes from.
type API string

// The known APIs.
const (
	Python API = "pymobiledevice3"
	GoIOS  API = "go-ios"
	Appium API = "appium"
)

// Limits of what peers send.
const (
	maxAnswer   = 4 << 20  // bytes of a response's body; appium lists every service
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

// serverName is our Server header. Identify recognizes our servers by it.
const serverName = "imdlua-tunneld"

// listed is one tunnel in pymobiledevice3's GET /. Clients fail when one of
// the keys is missing.
type listed struct {
	Address   string `json:"tunnel-address"`
	Port      uint16 `json:"tunnel-port"`
	Interface string `json:"interface"`
}

// started is pymobiledevice3's answer to /start-tunnel. It has the members of listed
// under other names.
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

// registryEntry has the members that are used of appium's description of a tunnel.
type registryEntry struct {
	UDID    string `json:"udid"`
	Address string `json:"address"`
	RSDPort uint16 `json:"rsdPort"`
}

// appendPreamble appends the destination of a relayed connection.
func appendPreamble(b []byte, to netip.Addr, port uint16) []byte {
	a := to.As16()
	b = append(b, a[:]...)
	return binary.LittleEndian.AppendUint32(b, uint32(port))
}

// decodePreamble reads the destination of a relayed connection.
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
			interfaceName, err := label(t.Interface)
			if err != nil {
				return nil, err
			}
			e.Interface = interfaceName
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
		if t.Userspace && t.RelayPort == 0 {
			return nil, answerError(
				fmt.Errorf("device %q: userspaceTun without a port", link.Clip(t.UDID)),
			)
		}
		if t.Userspace {
			e.RelayPort = t.RelayPort
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
	e.Interface, err = label(s.Interface)
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// label returns the name of an interface, or an error if it is too long.
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

// newEntry makes an Entry of the members that every API has, and checks them.
func newEntry(api API, udid, address string, port uint16) (Entry, error) {
	a, err := netip.ParseAddr(address)
	switch {
	case udid == "":
		return Entry{}, answerError(errors.New("tunnel without a device"))
	case len(udid) > maxUDID:
		return Entry{}, answerError(fmt.Errorf("identifier of %d bytes", len(udid)))
	case err != nil:
		return Entry{}, answerError(
			fmt.Errorf("device %q: %q is not an address", link.Clip(udid), link.Clip(address)),
		)
	case port == 0:
		return Entry{}, answerError(fmt.Errorf("device %q: no port", link.Clip(udid)))
	}
	return Entry{UDID: udid, Address: a, RSDPort: port, API: api}, nil
}

// SameUDID reports whether a and b are the same UDID. It ignores case and dashes.
func SameUDID(a, b string) bool { return plainUDID(a) == plainUDID(b) }

func plainUDID(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }

var (
	// ErrUnknownAPI is the cause of an Error when something answers that speaks
	// none of the APIs.
	ErrUnknownAPI = link.Malformed("speaks none of the known APIs")
	// ErrAnswer is the cause of an Error when an answer does not have the form of its
	// API.
	ErrAnswer = link.Malformed("answer is not understood")
	// ErrNotLoopback is the cause of an Error when a server without a token is given a
	// listener that other machines can reach.
	ErrNotLoopback = errors.New("listens beyond loopback without a token")
	// ErrItself is the cause of an Error when an upstream of a server is that server
	// itself.
	ErrItself = errors.New("is this server itself")
)

func answerError(err error) error { return fmt.Errorf("%w: %w", ErrAnswer, clipped{err}) }

// clipped shortens the text of an error, which may quote what a peer sent.
type clipped struct{ error }

func (c clipped) Error() string { return link.Clip(c.error.Error()) }
func (c clipped) Unwrap() error { return c.error }

// Error is the type of every error of the package.
type Error struct {
	// Op is what was tried: "list", "start", "find", "identify", "dial",
	// "connect", "serve", "expose", "reach", "relay".
	Op string
	// Address is the server's, HOST:PORT, or the device's address in the tunnel.
	Address string
	// Status is the status of an HTTP answer that refuses the request, or 0 if Err is
	// the cause.
	Status int
	// Text is the message of such an answer.
	Text string
	// Err is the cause.
	Err error
}

// Error returns text such as `tunneld: start 127.0.0.1:49151: 501 Not Implemented: task
// not created`.
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
