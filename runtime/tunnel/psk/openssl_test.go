package psk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// tool returns the path of a program. Without it the test is skipped, or fails in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		why := name + " is missing; on Debian: apt install " + name
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return path
}

var opensslNames = map[Suite]string{
	AES256GCMSHA384: "PSK-AES256-GCM-SHA384",
	AES256CBCSHA384: "PSK-AES256-CBC-SHA384",
	AES128CBCSHA:    "PSK-AES128-CBC-SHA",
}

// openssl starts openssl, which is killed at the end of the test.
func openssl(t *testing.T, stdin io.Reader, args ...string) (*exec.Cmd, io.Reader, *bytes.Buffer) {
	t.Helper()
	path := tool(t, "openssl")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, out, &stderr
}

// TestOpenSSLClient has s_client send a megabyte through our server and get it
// back. With "PSK" it offers all its suites and its usual extensions, as hosts
// that build on OpenSSL do.
func TestOpenSSLClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cipher string
		args   []string
		want   Suite
	}{
		"GCM":        {opensslNames[AES256GCMSHA384], []string{"-tls1_2"}, AES256GCMSHA384},
		"CBC SHA384": {opensslNames[AES256CBCSHA384], []string{"-tls1_2"}, AES256CBCSHA384},
		"CBC SHA":    {opensslNames[AES128CBCSHA], []string{"-tls1_2"}, AES128CBCSHA},
		"all":        {"PSK", []string{"-tls1_2"}, AES256GCMSHA384},
		"all, 1.3":   {"PSK", nil, AES256GCMSHA384},
		"legacy": {
			"PSK", []string{"-tls1_2", "-legacy_server_connect", "-no_ticket", "-no_etm"},
			AES256GCMSHA384,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			args := append([]string{"s_client", "-connect", l.Addr().String(), "-psk",
				hex.EncodeToString(testKey()),
				"-psk_identity", "someone", "-cipher", c.cipher, "-quiet",
				"-no_ign_eof"}, c.args...)
			hold, release := io.Pipe() // s_client leaves when its input ends
			defer release.Close()
			cmd, out, stderr := openssl(t, io.MultiReader(bytes.NewReader(data), hold), args...)
			served := make(chan error, 1)
			go func() { served <- echo(t.Context(), l, len(data), c.want) }()
			got, err := io.ReadAll(out)
			if err != nil {
				t.Errorf("s_client: %v", err)
			}
			if !bytes.Equal(got, data) {
				t.Errorf("s_client read %d bytes that are not the %d sent", len(got), len(data))
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			release.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("s_client: %v\n%s", err, stderr)
			}
		})
	}
}

// echo serves one connection and sends n bytes back.
func echo(ctx context.Context, l net.Listener, n int, want Suite) error {
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	c, err := Server(ctx, raw,
		&Config{Key: testKey(), CheckIdentity: func(id string) bool { return id == "someone" }})
	if err != nil {
		return err
	}
	defer c.Close()
	if c.Suite() != want {
		return &Error{Op: "echo", Err: errUnexpectedSuite(c.Suite())}
	}
	_, err = io.CopyN(c, c, int64(n))
	return err
}

type errUnexpectedSuite Suite

func (e errUnexpectedSuite) Error() string { return "chosen " + Suite(e).String() }

func TestOpenSSLClientRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		alert string // as s_client reports it
	}{
		"wrong key": {
			[]string{"-tls1_2", "-psk", "00ff", "-psk_identity", "someone", "-cipher", "PSK"},
			"alert bad record mac",
		},
		"wrong identity": {
			[]string{
				"-tls1_2", "-psk", hex.EncodeToString(testKey()), "-psk_identity", "other",
				"-cipher", "PSK",
			},
			"alert number 115",
		},
		"TLS 1.1": {[]string{
			"-tls1_1", "-psk", hex.EncodeToString(testKey()), "-cipher", "PSK:@SECLEVEL=0",
		}, "alert protocol version"},
		"other suites": {[]string{
			"-tls1_2", "-psk", hex.EncodeToString(testKey()), "-cipher",
			"DHE-PSK-AES256-GCM-SHA384",
		}, "alert handshake failure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd, out, stderr := openssl(t, nil,
				append([]string{"s_client", "-connect", l.Addr().String()}, c.args...)...)
			if err := echo(t.Context(), l, 1, AES256GCMSHA384); err == nil {
				t.Error("the handshake succeeded")
			}
			io.Copy(io.Discard, out)
			if err := cmd.Wait(); err == nil {
				t.Error("s_client ends without an error")
			}
			if !strings.Contains(stderr.String(), c.alert) {
				t.Errorf("s_client reports\n%s\nwant %q", stderr, c.alert)
			}
		})
	}
}

// TestOpenSSLServer talks to s_server -rev, which sends each line back from
// its end to its beginning.
func TestOpenSSLServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cipher string
		key    []byte
		args   []string
		want   Suite
	}{
		"GCM":        {opensslNames[AES256GCMSHA384], testKey(), nil, AES256GCMSHA384},
		"CBC SHA384": {opensslNames[AES256CBCSHA384], testKey(), nil, AES256CBCSHA384},
		"CBC SHA":    {opensslNames[AES128CBCSHA], testKey(), nil, AES128CBCSHA},
		"hint":       {"PSK", testKey(), []string{"-psk_hint", "who are you"}, AES256GCMSHA384},
		"long key":   {"PSK", bytes.Repeat([]byte{9}, 64), nil, AES256GCMSHA384},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, stderr := opensslServer(t, c.key,
				append([]string{"-cipher", c.cipher}, c.args...)...)
			raw, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := Client(t.Context(), raw, &Config{Key: c.key, Identity: "Client_identity"})
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			defer conn.Close()
			if conn.Suite() != c.want {
				t.Errorf("chosen %v", conn.Suite())
			}
			conn.SetDeadline(time.Now().Add(time.Minute))
			r := bufio.NewReader(conn)
			for n := 1; n < 10_000; n = n*3 + 1 {
				if _, err := conn.Write([]byte(strings.Repeat("a", n) + "b\n")); err != nil {
					t.Fatal(err)
				}
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatalf("line of %d bytes: %v", n, err)
				}
				if want := "b" + strings.Repeat("a", n) + "\n"; line != want {
					t.Fatalf("line of %d bytes: the answer has %d bytes or others", n, len(line))
				}
			}
		})
	}
}

func TestOpenSSLServerRefuses(t *testing.T) {
	t.Parallel()
	addr, _ := opensslServer(t, testKey(), "-cipher", "PSK")
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Client(t.Context(), raw, &Config{Key: []byte("wrong")})
	if err == nil {
		t.Error("the handshake with the wrong key succeeds")
	}
	wantNoConn(t, "with the wrong key", c)
}

// opensslServer starts s_server and returns where it listens.
func opensslServer(t *testing.T, key []byte, args ...string) (addr string, stderr *bytes.Buffer) {
	t.Helper()
	cmd, out, stderr := openssl(t, nil,
		append([]string{"s_server", "-accept", "127.0.0.1:0", "-nocert", "-tls1_2",
			"-psk", hex.EncodeToString(key), "-rev", "-naccept", "1"}, args...)...)
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("s_server: %v\n%s", err, stderr)
		}
		if a, ok := strings.CutPrefix(strings.TrimSpace(line), "ACCEPT "); ok {
			go io.Copy(io.Discard, r)
			return a, stderr
		}
	}
}
