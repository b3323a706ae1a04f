package lockdown

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// startedSession is a device's answer to StartSession.
var startedSession = plist.Dict{
	"Request": reqStartSession, "SessionID": "5BAA61E4", "EnableSessionSSL": true,
}

// sessionAttack is the behaviour of a device towards a host that starts a session, asks
// for a value and stops the session.
type sessionAttack struct {
	answer plist.Dict        // to StartSession; nil is startedSession
	play   func(a *attacker) // instead of the handshake
	inside func(a *attacker) // after the handshake
	other  bool              // another device than the one that was paired
	want   error
}

// TestHostileSession attacks a host in a session. One of its calls must end by its
// deadline with a typed error, and the memory that it keeps must be bounded.
func TestHostileSession(t *testing.T) {
	keys()
	for name, x := range map[string]sessionAttack{
		"session in plain text": {
			answer: plist.Dict{"Request": reqStartSession, "SessionID": "x"}, want: ErrPlainSession,
		},
		"session without a name": {
			answer: plist.Dict{"Request": reqStartSession, "EnableSessionSSL": true},
			want:   ErrInvalidResponse,
		},
		"another device":             {other: true, want: ErrWrongKey},
		"garbage for the handshake":  {play: playGarbage, want: ErrTLS},
		"silence for the handshake":  {play: wait, want: context.DeadlineExceeded},
		"end for the handshake":      {play: leave, want: ErrTLS},
		"half a record":              {play: halfRecord, want: context.DeadlineExceeded},
		"records without end":        {play: playRecords, want: ErrTLS},
		"handshake a byte a minute":  {play: playSlowly, want: ErrTLS},
		"frame of 2^32-1 bytes":      {inside: hugeAnswer, want: link.ErrTooLarge},
		"an answer that never ends":  {inside: halfAnswer, want: context.DeadlineExceeded},
		"end in the middle":          {inside: leave, want: io.ErrUnexpectedEOF},
		"data for the end of tls":    {inside: stopThen(playZeros), want: link.ErrProtocol},
		"silence for the end of tls": {inside: stopThen(wait), want: context.DeadlineExceeded},
		"close for the end of tls":   {inside: stopThen(leaveRudely), want: net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h, trusted := paired(t)
				before := measure()
				near, far := linktest.Pipe()
				cl := New(near, Options{})
				played := make(chan struct{})
				go func() { defer close(played); x.run(&attacker{t, far, h}, p, trusted) }()
				id := h.id
				id.DeviceKey = &p.Trust.Key().PublicKey
				if x.other {
					id.DeviceKey = &keys()[0].PublicKey
				}
				ctx := context.Background()
				err := cl.StartSession(ctx, id)
				if err == nil {
					_, err = cl.Get(ctx, "", "k")
				}
				if err == nil {
					err = cl.StopSession(ctx)
				}
				measure().check(t, before, hostKeeps, 0)
				wantEnd(t, err, x.want)
				cl.Close()
				far.Close()
				<-played
			})
		})
	}
}

func (x *sessionAttack) run(a *attacker, p *phone.Phone, host trust.Host) {
	a.heard()
	answer := x.answer
	if answer == nil {
		answer = startedSession
	}
	a.say(frameOf(a, answer))
	switch {
	case x.play != nil:
		x.play(a)
	case x.answer == nil:
		t, err := DeviceTLS(context.Background(), a.Conn, p.Trust.Key(), host)
		if err != nil {
			if !x.other {
				a.Errorf("handshake: %v", err)
			}
			return
		}
		if x.inside == nil {
			return
		}
		inside := *a
		inside.Conn = t
		inside.heard()
		x.inside(&inside)
	}
}

// stopThen answers the requests for a value and for the end of the session, and then
// calls play.
func stopThen(play func(a *attacker)) func(a *attacker) {
	return func(a *attacker) {
		a.say(frameOf(a, plist.Dict{"Request": reqGetValue, "Key": "k", "Value": "v"}))
		a.heard()
		a.say(frameOf(a, plist.Dict{"Request": reqStopSession, "Result": "Success"}))
		play(a)
	}
}

// playRecords sends a handshake message of 16 MiB in records of 16 KiB.
func playRecords(a *attacker) {
	record := make([]byte, 5+0x4000)
	copy(record, "\x16\x03\x03\x40\x00\x02\xff\xff\xff")
	a.flood(64<<20, record)
}

func halfRecord(a *attacker) { a.say([]byte("\x16\x03\x03\x40\x00\x02")) }

func halfAnswer(a *attacker) { a.say(length(1<<20), []byte("<?xml")) }

func playZeros(a *attacker) { a.flood(64<<20, make([]byte, 16<<10)) }

func playGarbage(a *attacker) { a.say([]byte("not tls at all")) }

func playSlowly(a *attacker) { a.slowly(make([]byte, 1<<10)) }

func hugeAnswer(a *attacker) { a.say(length(1<<32 - 1)) }

func leave(a *attacker) { a.Close() }

// leaveRudely closes the connection below TLS.
func leaveRudely(a *attacker) { a.Conn.(*link.TLSConn).Raw().Close() }

func wait(*attacker) {}
