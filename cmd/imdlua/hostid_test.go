package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// TestHostIdentity runs programs that read the list of services of a device with one connection
// to it. They must store one identity and use it, and open a service after each other.
func TestHostIdentity(t *testing.T) {
	t.Parallel()
	s := serveShelf(t, "--profile", "ios27", "--trusted", "127.0.0.1")
	at := s.rsd[s.udids[0]]
	home := t.TempDir()
	open := func() string {
		t.Helper()
		p := newProgram(t, "--rsd", at[0], at[1], "-e",
			`print(#device():tunnel():services() > 10, #device().files:list("/") > 0)`)
		for _, name := range []string{"XDG_CONFIG_HOME", "HOME", "APPDATA"} {
			p.environment[name] = home
		}
		out, _ := p.check(t, 0)
		if out != "true\ttrue\n" {
			t.Errorf("a script says %q", out)
		}
		stored, err := os.ReadFile((&cli{app: p.app}).stateFile(hostFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(stored)
	}
	first := open()
	if _, err := xpc.ParseUUID(strings.TrimSpace(first)); err != nil {
		t.Errorf("the identity: %v", err)
	}
	if second := open(); second != first {
		t.Errorf("the identity is %q, and then %q", first, second)
	}
}

// TestLists checks the flag with which all versions of iOS keep one connection to a list.
func TestLists(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for lists, single := range map[string]bool{"single": true, "many": false} {
		s := serveShelf(t, "--profile", "ios27", "--trusted", "127.0.0.1", "--lists", lists)
		at := netip.MustParseAddrPort(net.JoinHostPort(s.rsd[s.udids[0]][0], s.rsd[s.udids[0]][1]))
		dial := func(ctx context.Context, port uint16) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", netip.AddrPortFrom(at.Addr(), port).String())
		}
		var clients []*rsd.Client
		for range 2 {
			list, err := rsd.Dial(ctx, dial, at.Port(), rsd.Options{Host: xpc.UUID{1}})
			if err != nil {
				t.Fatal(err)
			}
			defer list.Close()
			clients = append(clients, list)
		}
		if single {
			select {
			case <-clients[0].Done():
			case <-ctx.Done():
				t.Errorf("%s: the older connection to the list stays", lists)
			}
			continue
		}
		// The device answers on both connections.
		for n, list := range clients {
			if err := list.Err(); err != nil {
				t.Errorf("%s: connection %d to the list ended: %v", lists, n+1, err)
			}
		}
	}
	newProgram(t, "virtual", "--usbmux", "127.0.0.1:0", "--lists", "both").check(t, 2)
}

// TestRemotedIdentity has a remoted that answers, and then one that does not.
func TestRemotedIdentity(t *testing.T) {
	t.Parallel()
	const mac = "EB958862-2222-1111-0000-000000000000"
	p := newProgram(t)
	c := &cli{app: p.app}
	first, err := c.hostIdentity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.String() == mac {
		t.Fatalf("the identity without remoted is %s", first)
	}
	c.remoted = func(context.Context) ([]byte, error) {
		return []byte("Local device\n\tUUID: " + mac + "\n"), nil
	}
	for _, answers := range []bool{true, false} {
		if !answers {
			c.remoted = func(context.Context) ([]byte, error) { return nil, io.EOF }
		}
		id, err := c.hostIdentity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if id.String() != mac {
			t.Errorf("remoted answers: %v; the identity is %s, want %s", answers, id, mac)
		}
	}
	c.app.env = func(string) (string, bool) { return "", false }
	if _, err := c.hostIdentity(t.Context()); err == nil {
		t.Error("there is an identity without a folder for it")
	}
}
