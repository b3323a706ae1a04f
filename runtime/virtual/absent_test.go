package virtual

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// TestUnimplementedServices uses every listed service that the virtual device does not
// implement. None of them leaves a host without an answer.
func TestUnimplementedServices(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"ios17", "ios26"} {
		synctest.Test(t, func(t *testing.T) {
			m, err := New(Options{Phone: phone.Options{Profile: profile, LogRate: -1}})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			seen := map[rsd.Transport]int{}
			for _, s := range m.newInside().services() {
				if h, _ := m.remote(s); h != nil {
					continue
				}
				seen[s.Transport()]++
				switch s.Transport() {
				case rsd.RemoteXPC:
					checkUnimplementedXPC(t, m, s)
				case rsd.Checkin:
					checkUnimplementedCheckin(t, m, s)
				default:
					c, err := m.Inside(t.Context(), s.Port)
					if err != nil {
						t.Fatalf("%s: %v", s.Name, err)
					}
					if _, err := c.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("%s: Read: %v, want EOF", s.Name, err)
					}
					c.Close()
				}
			}
			for _, transport := range []rsd.Transport{rsd.RemoteXPC, rsd.Checkin, rsd.Raw} {
				if seen[transport] == 0 {
					t.Errorf("%s: no service by %v is checked", profile, transport)
				}
			}
		})
	}
}

// checkUnimplementedXPC sends a request, which is answered with an error, and a message that
// wants no reply.
func checkUnimplementedXPC(t *testing.T, m *Machine, s rsd.Service) {
	t.Helper()
	c, err := m.Inside(t.Context(), s.Port)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	x, err := remotexpc.Connect(t.Context(), c, remotexpc.Options{})
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	defer x.Close()
	for range 2 {
		answer, err := x.CallAny(t.Context(), xpc.Dict{
			{Key: "CoreDevice.featureIdentifier", Value: "com.apple.coredevice.feature.fly"},
			{Key: "CoreDevice.invocationIdentifier", Value: "1"},
		})
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			return
		}
		key := "error"
		if strings.HasPrefix(s.Name, coreDevice) {
			key = "CoreDevice.error"
		}
		if _, ok := answer.Get(key); !ok {
			t.Errorf("%s: answer %v, want %s in it", s.Name, answer, key)
		}
	}
	if strings.HasPrefix(s.Name, coreDevice) {
		return
	}
	err = x.Send(t.Context(), xpc.Dict{{Key: "Command", Value: "PostNotification"}})
	if err != nil {
		t.Errorf("%s: Send: %v", s.Name, err)
	}
	<-x.Done()
}

func checkUnimplementedCheckin(t *testing.T, m *Machine, s rsd.Service) {
	t.Helper()
	c, err := m.Inside(t.Context(), s.Port)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	defer c.Close()
	p := link.NewPlistConn(c)
	if err := p.Send(t.Context(), plist.Dict{"Request": "RSDCheckin"}); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	var answers []any
	for range 2 {
		d, err := p.RecvDict(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		answers = append(answers, d["Error"])
	}
	if answers[1] != string(rsd.ErrInvalidService) {
		t.Errorf("%s: errors %v, want %s last", s.Name, answers, rsd.ErrInvalidService)
	}
}
