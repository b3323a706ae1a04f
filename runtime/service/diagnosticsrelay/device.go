package diagnosticsrelay

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/service"
)

// powerGrace is how long a phone that was asked to restart at once waits for the
// Goodbye of the host. go-ios sends it after the request to restart and needs an
// answer.
const powerGrace = 2 * time.Second

// Device is the device side for the phone of a virtual device. One Device serves any
// number of connections.
//
// Serve performs Restart and Shutdown at its end. The function given to Power.OnAction
// runs on the goroutine of Serve, so it must not wait for Serve to return.
type Device struct{ service.Env }

// NewDevice returns the device side for a phone.
func NewDevice(e service.Env) service.Handler { return &Device{Env: e} }

// session is the state of one connection.
type session struct {
	dev     *Device
	conn    *link.PlistConn
	power   power.Action
	pending bool      // power holds an action to perform at the end
	until   time.Time // time at which the session ends at the latest; zero means no limit
}

// Serve answers requests until the peer disconnects or sends Goodbye, or until ctx
// ends.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	s := &session{dev: d, conn: &link.PlistConn{Conn: c, Format: plist.XML, Max: MaxRequest}}
	err := s.run(ctx)
	if s.pending && ctx.Err() == nil {
		d.Log("diagnosticsrelay").Debug("power", "action", s.power.String())
		d.Phone.Power.Do(s.power)
	}
	return err
}

func (s *session) run(ctx context.Context) error {
	for {
		req, err := s.recv(ctx)
		switch {
		case s.pending && err != nil && ctx.Err() == nil:
			return nil // the host has disconnected or the time is up
		case err == io.EOF:
			return nil
		case err != nil:
			return errs.New("serve", "", err)
		}
		name, _ := req.String("Request")
		if err := s.conn.Send(ctx, s.answer(name, req)); err != nil {
			if s.pending && ctx.Err() == nil {
				return nil
			}
			return errs.New("serve", name, err)
		}
		switch name {
		case reqGoodbye:
			return nil
		case reqSleep:
			s.dev.Phone.Power.Do(power.Sleep)
		}
	}
}

func (s *session) recv(ctx context.Context) (plist.Dict, error) {
	if !s.until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, s.until)
		defer cancel()
	}
	return s.conn.RecvDict(ctx)
}

func (s *session) answer(name string, req plist.Dict) plist.Dict {
	p := s.dev.Phone
	ok := plist.Dict{"Status": string(success)}
	switch name {
	case reqAll:
		return diagnostics(p.Diagnostics.Answer(reqAll))
	case reqWiFi, reqGasGauge, reqNAND, reqHDMI:
		group, found := p.Diagnostics.Answer(name)
		if found {
			if inner, nested := group.Dict(name); nested {
				group = inner
			}
		}
		return diagnostics(plist.Dict{name: group}, found)
	case reqGestalt:
		return gestalt(p, req)
	case reqIORegistry:
		return registry(p, req)
	case reqRestart:
		s.schedule(power.Restart, req)
	case reqShutdown:
		s.schedule(power.Shutdown, req)
	case reqSleep, reqGoodbye:
	default:
		return plist.Dict{"Status": string(ErrUnknownRequest)}
	}
	return ok
}

// schedule records the action for the end of the connection.
func (s *session) schedule(a power.Action, req plist.Dict) {
	s.power, s.pending, s.until = a, true, time.Time{}
	if wait, _ := req.Bool("WaitForDisconnect"); !wait {
		s.until = time.Now().Add(powerGrace)
	}
}

func diagnostics(d plist.Dict, found bool) plist.Dict {
	if !found {
		return plist.Dict{"Status": string(ErrFailure)}
	}
	return plist.Dict{"Status": string(success), "Diagnostics": d}
}

// gestalt sets Status in the answer and in the inner dictionary. pymobiledevice3 reads
// the inner one first.
func gestalt(p *phone.Phone, req plist.Dict) plist.Dict {
	if p.Identity.GestaltGone {
		return diagnostics(
			plist.Dict{reqGestalt: plist.Dict{"Status": string(ErrGestaltDeprecated)}}, true,
		)
	}
	list, isList := req.Array("MobileGestaltKeys")
	if _, given := req["MobileGestaltKeys"]; given && !isList {
		return gestaltFailure()
	}
	keys := make([]string, 0, len(list))
	for _, v := range list {
		key, ok := v.(string)
		if !ok {
			return gestaltFailure()
		}
		keys = append(keys, key)
	}
	values := p.Diagnostics.Gestalt(keys)
	if values == nil {
		values = plist.Dict{}
	}
	values["Status"] = string(success)
	return diagnostics(plist.Dict{reqGestalt: values}, true)
}

func gestaltFailure() plist.Dict {
	return plist.Dict{
		"Status":      string(ErrFailure),
		"Diagnostics": plist.Dict{reqGestalt: plist.Dict{"Status": string(ErrFailure)}},
	}
}

// registry answers a query. An empty string in the query selects nothing, because
// idevicediagnostics sends empty strings for fields that it does not restrict. If no
// entry matches, the answer is a Success without Diagnostics.
func registry(p *phone.Phone, req plist.Dict) plist.Dict {
	var text [3]string
	for i, key := range []string{"CurrentPlane", "EntryName", "EntryClass"} {
		v, given := req[key]
		s, ok := v.(string)
		if given && !ok {
			return plist.Dict{"Status": string(ErrFailure)}
		}
		text[i] = s
	}
	entry, ok := p.Diagnostics.IORegistry(text[0], text[1], text[2])
	if !ok {
		return plist.Dict{"Status": string(success)}
	}
	return diagnostics(plist.Dict{reqIORegistry: entry}, true)
}
