package bindings

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/codec/opack"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	phone "github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// TestCodes checks the codes of errors of sockets, of malformed messages, and of
// refusals.
func TestCodes(t *testing.T) {
	t.Parallel()
	socket := func(op string, no syscall.Errno) error {
		return &net.OpError{Op: op, Net: "tcp", Err: no}
	}
	muxer := func(no syscall.Errno) error {
		return &usbmux.Error{Op: "list devices", Err: socket("dial", no)}
	}
	_, malformed := plist.DecodeDict([]byte("junk"))
	_, noXPC := xpc.DecodeObject([]byte("junk"))
	_, noArchive := nskeyed.Decode([]byte("junk"))
	_, noOPACK := opack.Decode([]byte{0xff})
	_, noTLV := tlv8.Decode([]byte{1})
	_, unsendable := xpc.AppendObject(nil, make(chan int))
	for _, tc := range []struct {
		err  error
		code string
	}{
		{socket("read", syscall.ECONNRESET), "disconnected"},
		{socket("write", syscall.EPIPE), "disconnected"},
		{fmt.Errorf("afc: %w", socket("read", syscall.ECONNABORTED)), "disconnected"},
		{io.ErrUnexpectedEOF, "disconnected"},
		{muxer(syscall.ECONNREFUSED), "no_muxer"},
		{muxer(syscall.ENOENT), "no_muxer"},
		{muxer(syscall.EMFILE), "too_many_files"},
		{muxer(syscall.EACCES), "access_denied"},
		{malformed, "protocol"}, {noXPC, "protocol"}, {noArchive, "protocol"},
		{noOPACK, "protocol"}, {noTLV, "protocol"}, {unsendable, "failed"},
		{fmt.Errorf("read: %w", malformed), "protocol"},
		{&link.FrameError{Length: 1 << 31, Max: 1}, "protocol"},
		{heartbeat.ErrProtocol, "protocol"},
		{fmt.Errorf("x: %w", link.Malformed("nonsense")), "protocol"},
		{&lockdown.Error{Op: "StartSession", Err: lockdown.ErrWrongKey}, "wrong_keys"},
		{&lockdown.Error{Op: "StartSession", Err: lockdown.ErrPlainSession}, "wrong_keys"},
		{
			&lockdown.Error{Op: "StartSession", Err: fmt.Errorf("%w: %w", lockdown.ErrTLS, io.EOF)},
			"tls",
		},
		{phone.ErrNotPaired, "not_paired"},
		{&service.Error{Service: "new", Op: "try", Code: "DeviceLocked"}, "DeviceLocked"},
		{&service.Error{Service: "new", Op: "try", Err: io.EOF}, "disconnected"},
	} {
		mapped := device.MapError(nil)(&phone.Error{UDID: "x", Op: "test", Err: tc.err})
		if mapped == nil {
			t.Errorf("%v is not mapped, want the code %s", tc.err, tc.code)
			continue
		}
		if mapped.Code != tc.code {
			t.Errorf("the code of %v is %s, want %s", tc.err, mapped.Code, tc.code)
		}
		if !errors.Is(mapped, tc.err) {
			t.Errorf("the error for %v does not wrap it", tc.err)
		}
	}
}
