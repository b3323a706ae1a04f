package rsd

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// TestProxy checks that a Proxy sends the device's description with other ports.
func TestProxy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, _ := newDevice(t, newPhone(t, "ios18"), TableOptions{Image: true})
		device := dialClient(t, m, Options{})
		want := *device.Peer()
		want.Services = maps.Clone(want.Services)
		for name, s := range want.Services {
			s.Port -= 40000
			want.Services[name] = s
		}
		asked := 0
		m.listen(listPort+1,
			&Proxy{Peer: func(context.Context) (*Peer, error) { asked++; return &want, nil }})
		c, err := Dial(context.Background(), m.dial, listPort+1, Options{Heartbeat: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Peer(); !reflect.DeepEqual(got, &want) {
			t.Errorf("Peer = %+v, want %+v", got, &want)
		}
		if err := c.Refresh(context.Background()); err != nil {
			t.Errorf("Refresh: %v", err)
		} else if asked != 2 {
			t.Errorf("the list was asked for %d times, want 2", asked)
		}
		time.Sleep(time.Minute) // heartbeats
		if err := c.Err(); err != nil {
			t.Errorf("Err = %v after a minute of heartbeats", err)
		}
		c.Close()
		device.Close()
		m.close()
	})
}

// TestProxyRefuses uses a device that is gone.
func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.listen(listPort,
			&Proxy{Peer: func(context.Context) (*Peer, error) { return nil, errors.New("gone") }})
		if c, err := Dial(context.Background(), m.dial, listPort, Options{}); err == nil {
			t.Errorf("Dial = %v, want an error", c.Peer())
		}
		m.listen(listPort,
			&Proxy{Peer: func(context.Context) (*Peer, error) { return &Peer{}, nil }})
		c, err := Dial(context.Background(), m.dial, listPort, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p := c.Peer(); len(p.Services) != 0 {
			t.Errorf("Peer has the services %v, want none", p.Services)
		} else if len(p.Properties.Dict) != 0 {
			t.Errorf("Peer has the properties %v, want none", p.Properties.Dict)
		}
		c.Close()
		m.close()
	})
}
