package lockdown

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// scripted returns a client whose device sends the answers in turn, whatever the request
// is, and then closes the connection. The requests can be read after the client is
// closed.
func scripted(tb testing.TB, answers ...any) (*Client, func() []plist.Dict) {
	tb.Helper()
	a, b := linktest.Pipe()
	var got []plist.Dict
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		pc := link.NewPlistConn(b)
		for _, ans := range answers {
			d, err := pc.RecvDict(context.Background())
			if err != nil {
				return
			}
			got = append(got, d)
			if raw, ok := ans.([]byte); ok {
				_, err = b.Write(raw)
			} else {
				err = pc.Send(context.Background(), ans)
			}
			if err != nil {
				return
			}
		}
	}()
	cl := New(a, Options{Label: "prog"})
	end := func() []plist.Dict {
		cl.Close()
		<-done
		return got
	}
	tb.Cleanup(func() { end() })
	return cl, end
}

// The test compares every request as it is sent. Private keys are never in one.
func TestRequests(t *testing.T) {
	t.Parallel()
	record := plist.Dict{
		"HostID": hostID, "HostCertificate": []byte("c"), "HostPrivateKey": []byte("k"),
		"RootPrivateKey": []byte("k"),
	}
	sent := plist.Dict{"HostID": hostID, "HostCertificate": []byte("c")}
	for _, x := range []struct {
		call func(context.Context, *Client) error
		want plist.Dict // without Label
	}{
		{func(ctx context.Context, c *Client) error { _, err := c.QueryType(ctx); return err },
			plist.Dict{"Request": "QueryType"}},
		{func(ctx context.Context, c *Client) error {
			_, err := c.Get(ctx, "",
				"ProductVersion")
			return err
		},
			plist.Dict{"Request": "GetValue", "Key": "ProductVersion"}},
		{func(ctx context.Context, c *Client) error {
			_, err := c.Domain(ctx,
				"com.apple.fmip")
			return err
		},
			plist.Dict{"Request": "GetValue", "Domain": "com.apple.fmip"}},
		{func(ctx context.Context, c *Client) error { return c.Set(ctx, "d", "k", true) },
			plist.Dict{"Request": "SetValue", "Domain": "d", "Key": "k", "Value": true}},
		{func(ctx context.Context, c *Client) error { return c.Remove(ctx, "d", "k") },
			plist.Dict{"Request": "RemoveValue", "Domain": "d", "Key": "k"}},
		{func(ctx context.Context, c *Client) error {
			return c.StartSession(ctx, Identity{HostID: hostID, SystemBUID: buid})
		}, plist.Dict{"Request": "StartSession", "HostID": hostID, "SystemBUID": buid}},
		{func(ctx context.Context, c *Client) error {
			_, err := c.StartService(ctx, "s", []byte("bag"))
			return err
		},
			plist.Dict{"Request": "StartService", "Service": "s", "EscrowBag": []byte("bag")}},
		{func(ctx context.Context, c *Client) error {
			_, err := c.Pair(ctx, record, PairOptions{HostName: "desk"})
			return err
		}, plist.Dict{"Request": "Pair", "ProtocolVersion": "2", "PairRecord": sent,
			"HostName":       "desk",
			"PairingOptions": plist.Dict{"ExtendedPairingErrors": true}}},
		{func(ctx context.Context, c *Client) error {
			_, err := c.Pair(ctx, record,
				PairOptions{SupervisorCertificate: []byte("s"), ChallengeResponse: []byte("r")})
			return err
		}, plist.Dict{"Request": "Pair", "ProtocolVersion": "2", "PairRecord": sent,
			"PairingOptions": plist.Dict{
				"ExtendedPairingErrors": true, "SupervisorCertificate": []byte("s"),
				"ChallengeResponse": []byte("r"),
			}}},
		{func(ctx context.Context, c *Client) error { return c.ValidatePair(ctx, record) },
			plist.Dict{"Request": "ValidatePair", "ProtocolVersion": "2", "PairRecord": sent}},
		{func(ctx context.Context, c *Client) error { return c.Unpair(ctx, record) },
			plist.Dict{"Request": "Unpair", "ProtocolVersion": "2", "PairRecord": sent}},
		{func(ctx context.Context, c *Client) error { return c.ResetPairing(ctx) },
			plist.Dict{"Request": "ResetPairing", "FullReset": true}},
		{
			func(ctx context.Context, c *Client) error { return c.EnterRecovery(ctx) },
			plist.Dict{"Request": "EnterRecovery"},
		},
		{
			func(ctx context.Context, c *Client) error { return c.Goodbye(ctx) },
			plist.Dict{"Request": "Goodbye"},
		},
	} {
		name, _ := x.want.String("Request")
		cl, end := scripted(t, plist.Dict{"Request": name, "Error": "Odd"})
		wantCode(t, name, x.call(t.Context(), cl), "Odd")
		x.want["Label"] = "prog"
		if got, want := end(), []plist.Dict{x.want}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s sent\n %v, want\n %v", name, got, want)
		}
	}
	if _, there := record["HostPrivateKey"]; !there {
		t.Error("the caller's record lost its key")
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	ask := func(cl *Client, ctx context.Context) error {
		_, err := cl.Get(ctx, "d",
			"k")
		return err
	}
	service := func(cl *Client, ctx context.Context) error {
		_, err := cl.StartService(ctx, "s",
			nil)
		return err
	}
	start := func(cl *Client, ctx context.Context) error {
		return cl.StartSession(ctx,
			Identity{HostID: hostID})
	}
	pair := func(cl *Client, ctx context.Context) error {
		_, err := cl.Pair(ctx, nil,
			PairOptions{})
		return err
	}
	for _, x := range []struct {
		name   string
		call   func(*Client, context.Context) error
		answer plist.Dict
		text   string // of the error, "" for success
		is     error
	}{
		{
			"refusal", ask, plist.Dict{"Request": "GetValue", "Error": "MissingValue"},
			`lockdown: GetValue "d/k": MissingValue`, fs.ErrNotExist,
		},
		{
			"permission", ask, plist.Dict{"Request": "GetValue", "Error": "GetProhibited"},
			`lockdown: GetValue "d/k": GetProhibited`, fs.ErrPermission,
		},
		{
			"described", ask,
			plist.Dict{"Request": "GetValue", "Error": "InternalError", "ErrorDescription": "boom"},
			`lockdown: GetValue "d/k": InternalError (boom)`, ErrInternalError,
		},
		{
			"number", ask, plist.Dict{"Request": "GetValue", "Error": int64(-5)},
			`lockdown: GetValue "d/k": -5`, Code("-5"),
		},
		{
			"number with text", ask,
			plist.Dict{"Request": "GetValue", "Error": int64(1), "ErrorString": "SessionInactive"},
			`lockdown: GetValue "d/k": SessionInactive`, ErrSessionInactive,
		},
		{
			"error of no type", ask, plist.Dict{"Request": "GetValue", "Error": []any{}},
			`lockdown: GetValue "d/k": InvalidResponse`, ErrInvalidResponse,
		},
		{
			"empty error", ask, plist.Dict{"Request": "GetValue", "Error": ""},
			`lockdown: GetValue "d/k": InvalidResponse`, ErrInvalidResponse,
		},
		{
			"old failure", ask, plist.Dict{"Request": "GetValue", "Result": "Failure"},
			`lockdown: GetValue "d/k": Failure`, ErrFailure,
		},
		{
			"no value", ask, plist.Dict{"Request": "GetValue"},
			`lockdown: GetValue "d/k": InvalidResponse: no Value`, ErrInvalidResponse,
		},
		{
			"another request", ask, plist.Dict{"Request": "SetValue"},
			`lockdown: GetValue "d/k": InvalidResponse: answer is to "SetValue"`,
			ErrInvalidResponse,
		},
		{"no echo", ask, plist.Dict{"Value": "v", "Result": "Success"}, "", nil},
		{
			"port of no type", service, plist.Dict{"Request": "StartService", "Port": "1"},
			`lockdown: StartService "s": InvalidResponse: Port is 1`, ErrInvalidResponse,
		},
		{
			"port too large", service, plist.Dict{"Request": "StartService", "Port": int64(65536)},
			`lockdown: StartService "s": InvalidResponse: Port is 65536`, ErrInvalidResponse,
		},
		{
			"port zero", service, plist.Dict{"Request": "StartService", "Port": int64(0)},
			`lockdown: StartService "s": InvalidResponse: Port is 0`, ErrInvalidResponse,
		},
		{
			"no port", service, plist.Dict{"Request": "StartService"},
			`lockdown: StartService "s": InvalidResponse: Port is <nil>`, ErrInvalidResponse,
		},
		{
			"unencrypted service", service, plist.Dict{"Request": "StartService", "Port": int64(1)},
			"", nil,
		},
		{
			"no session ID", start, plist.Dict{"Request": "StartSession", "EnableSessionSSL": true},
			`lockdown: StartSession "` + hostID + `": InvalidResponse: SessionID is nothing`,
			ErrInvalidResponse,
		},
		{
			"session in plain text", start,
			plist.Dict{"Request": "StartSession", "SessionID": "x", "EnableSessionSSL": false},
			`lockdown: StartSession "` + hostID + `": the device wants a session without tls`,
			ErrPlainSession,
		},
		{"no bag", pair, plist.Dict{"Request": "Pair"}, "", nil},
		{
			"unpair echoes another",
			func(cl *Client, ctx context.Context) error { return cl.Unpair(ctx, nil) },
			plist.Dict{"Request": "ValidatePair"}, "", nil,
		},
		{"type of no type",
			func(cl *Client, ctx context.Context) error { _, err := cl.QueryType(ctx); return err },
			plist.Dict{"Request": "QueryType", "Type": int64(1)},
			`lockdown: QueryType: InvalidResponse: Type is integer`, ErrInvalidResponse},
		{"domain of no type", func(cl *Client, ctx context.Context) error {
			_, err := cl.Domain(ctx,
				"d")
			return err
		},
			plist.Dict{"Request": "GetValue", "Value": "v"},
			`lockdown: GetValue "d": InvalidResponse: Value is string, want a dictionary`,
			ErrInvalidResponse},
	} {
		cl, _ := scripted(t, x.answer)
		err := x.call(cl, t.Context())
		if x.text == "" {
			if err != nil {
				t.Errorf("%s: %v", x.name, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v (%T), want an Error", x.name, err, err)
		}
		if err == nil || err.Error() != x.text {
			t.Errorf("%s: %v\nwant %s", x.name, err, x.text)
		}
		if !errors.Is(err, x.is) {
			t.Errorf("%s: %v, want %v", x.name, err, x.is)
		}
	}
}

func TestSupervisedChallenge(t *testing.T) {
	t.Parallel()
	cl, _ := scripted(t, plist.Dict{"Request": "Pair", "Error": "MCChallengeRequired",
		"ExtendedResponse": plist.Dict{"PairingChallenge": []byte("nonce")}},
		plist.Dict{"Request": "Pair", "EscrowBag": []byte("bag")})
	_, err := cl.Pair(t.Context(), plist.Dict{"HostID": hostID},
		PairOptions{SupervisorCertificate: []byte("der")})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Pair = %#v, want an Error", err)
	} else if e.Code != ErrMCChallengeRequired {
		t.Fatalf("Pair = %v, want the code %v", err, ErrMCChallengeRequired)
	}
	if string(e.Challenge) != "nonce" {
		t.Fatalf("the challenge is %q, want nonce", e.Challenge)
	}
	r, err := cl.Pair(t.Context(), plist.Dict{"HostID": hostID},
		PairOptions{ChallengeResponse: []byte("signed")})
	if err != nil {
		t.Errorf("second Pair: %v", err)
	} else if string(r.EscrowBag) != "bag" {
		t.Errorf("second Pair has the escrow bag %q, want bag", r.EscrowBag)
	}
}

// A request that cannot be encoded is refused before anything is sent.
func TestUnencodable(t *testing.T) {
	t.Parallel()
	cl := dial(t, never(phonetest.New(t, phone.Options{})))
	var bad *plist.Error
	if err := cl.Set(t.Context(), "", "k", nil); !errors.As(err, &bad) {
		t.Errorf("Set(nil) = %v, want *plist.Error", err)
	}
	if _, err := cl.QueryType(t.Context()); err != nil {
		t.Errorf("QueryType afterwards = %v", err)
	}
}

// If a device never answers, a call ends by its deadline, which is 30 seconds by default,
// and the connection cannot be used any more.
func TestSilentDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, limit := range []time.Duration{0, 5 * time.Second} {
			a, b := linktest.Pipe()
			cl := New(a, Options{})
			ctx, want := context.Background(), 30*time.Second
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
				want = limit
			}
			begin := time.Now()
			_, err := cl.Get(ctx, "", "ProductVersion")
			if took := time.Since(begin); took != want {
				t.Errorf("Get took %v, want %v", took, want)
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get = %v, want %v", err, context.DeadlineExceeded)
			}
			if got, want := err.Error(),
				`lockdown: GetValue "ProductVersion": timed out`; got != want {
				t.Errorf("text = %s, want %s", got, want)
			}
			if _, err := cl.QueryType(context.Background()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("QueryType = %v, want net.ErrClosed", err)
			}
			cl.Close()
			b.Close()
		}
	})
}

func TestCancelAndClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Pipe()
		defer b.Close()
		cl := New(a, Options{})
		ctx, cancel := context.WithCancelCause(context.Background())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := cl.QueryType(context.Background()); first <- err }()
		synctest.Wait()
		// The second call waits for its turn. When it gives up, the first is not affected.
		go func() { _, err := cl.QueryType(ctx); second <- err }()
		synctest.Wait()
		cause := errors.New("user pressed ctrl-c")
		cancel(cause)
		if err := <-second; !errors.Is(err, cause) {
			t.Errorf("waiting call = %v, want %v", err, cause)
		}
		if err := cl.Close(); err != nil {
			t.Error(err)
		}
		if err := cl.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
		var e *Error
		if err := <-first; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the call in progress = %v, want %v", err, net.ErrClosed)
		} else if !errors.As(err, &e) {
			t.Errorf("the call in progress = %v, want an Error", err)
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	cl := session(t, never(p), h.id)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				key, want := "ProductVersion", any(p.Identity.Version)
				if i%2 == 1 {
					key, want = "UniqueDeviceID", p.Identity.UDID
				}
				if v, err := cl.Get(t.Context(), "", key); err != nil {
					t.Errorf("Get(%s): %v", key, err)
					return
				} else if v != want {
					t.Errorf("Get(%s) = %v, want %v", key, v, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	e := &Error{Op: "GetValue", Code: Code(long), Detail: long}
	if n := len(e.Error()); n > 500 {
		t.Errorf("text of %d bytes", n)
	}
	for _, c := range []struct {
		code   Code
		target error
		want   bool
	}{
		{ErrMissingValue, fs.ErrNotExist, true},
		{ErrInvalidService, fs.ErrNotExist, true},
		{ErrInvalidHostID, fs.ErrNotExist, false},
		{ErrPasswordProtected, fs.ErrPermission, true},
		{ErrSessionInactive, fs.ErrPermission, false},
		{ErrMissingValue, ErrMissingKey, false},
	} {
		if got := errors.Is(fmt.Errorf("wrapped: %w", &Error{Op: "x", Code: c.code}),
			c.target); got != c.want {
			t.Errorf("%s is %v: %v, want %v", c.code, c.target, got, c.want)
		}
	}
}
