//go:build linux

package interop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// packages says which Debian package brings a program.
var packages = map[string]string{
	"iproxy": "libusbmuxd-tools", "inetcat": "libusbmuxd-tools", "usbmuxd": "usbmuxd",
	"ideviceinstaller": "ideviceinstaller", "ifuse": "ifuse", "fusermount": "fuse",
	"stdbuf": "coreutils", "unshare": "util-linux", "gcc": "gcc",
}

// tool returns the path of a program, or ends the test when it is not there.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && name == "usbmuxd" { // a user's PATH has no sbin
		path, err = exec.LookPath("/usr/sbin/usbmuxd")
	}
	if err == nil {
		return path
	}
	pkg := packages[name]
	if pkg == "" {
		pkg = "libimobiledevice-utils"
	}
	virtualtest.Lack(t, fmt.Sprintf("%s is missing; on Debian: apt install %s", name, pkg))
	return ""
}

// rig is a virtual host on a loopback port and an environment in which foreign
// programs see it and nothing else.
type rig struct {
	*testing.T
	host    *virtual.Host
	env     []string
	dir     string
	records string // where the muxer keeps its pair records
	ctx     context.Context
}

// plug starts a rig. The phone's own chatter is silent unless o asks for it.
func plug(t *testing.T, o virtual.HostOptions) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), ctx: virtualtest.Context(t)}
	r.records = filepath.Join(r.dir, "lockdown")
	if err := os.Mkdir(r.records, 0o755); err != nil {
		t.Fatal(err)
	}
	if o.Device.Phone.LogRate == 0 {
		o.Device.Phone.LogRate = -1
	}
	o.Muxer.Records = recordDir(r.records)
	if o.Device.Logger == nil {
		o.Device.Logger = slog.New(witness(t))
	}
	r.host = virtualtest.Host(t, o)
	r.env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC",
		"HOME=" + r.dir, "XDG_CONFIG_HOME=" + r.dir, "TMPDIR=" + r.dir,
		"USBMUXD_SOCKET_ADDRESS=" + virtualtest.Listen(t, r.host),
	}
	return r
}

// one starts a rig with one device of a profile ("" = the default).
func one(t *testing.T, profile string) *rig {
	t.Helper()
	return plug(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: profile}}})
}

func (r *rig) machine() *virtual.Machine { return r.host.Devices()[0] }
func (r *rig) phone() *phone.Phone       { return r.machine().Phone() }

func (r *rig) command(name string, args ...string) *exec.Cmd {
	r.Helper()
	c := exec.CommandContext(r.ctx, tool(r, name), args...)
	c.Env, c.Dir = r.env, r.dir
	c.WaitDelay = 5 * time.Second
	// A test run that is killed takes its programs along.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// result is what a program left behind.
type result struct {
	out, err string
	code     int
}

func (r *rig) finish(c *exec.Cmd) result {
	r.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if r.ctx.Err() != nil {
		r.Fatalf("%s did not end\nstdout: %s\nstderr: %s", c, &out, &errs)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.Fatalf("%s: %v", c, err)
	}
	if s := c.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
		r.Fatalf("%s died of %v\nstdout: %s\nstderr: %s", c, s.Signal(), &out, &errs)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// run runs a program to its end.
func (r *rig) run(name string, args ...string) result {
	r.Helper()
	return r.finish(r.command(name, args...))
}

// output runs a program that must succeed and returns what it printed.
func (r *rig) output(name string, args ...string) string {
	r.Helper()
	got := r.run(name, args...)
	if got.code != 0 {
		r.Fatalf("%s %q: exit status %d\nstdout: %s\nstderr: %s", name, args, got.code, got.out,
			got.err)
	}
	return got.out
}

// want runs a program and compares all it prints and how it ends.
func (r *rig) want(want result, name string, args ...string) {
	r.Helper()
	if got := r.run(name, args...); got != want {
		r.Errorf("%s %q:\n got %q, stderr %q, exit status %d\nwant %q, stderr %q, exit status %d",
			name, args, got.out, got.err, got.code, want.out, want.err, want.code)
	}
}

// wantStatus runs a program and checks its exit status and that it prints text.
func (r *rig) wantStatus(status int, text, name string, args ...string) result {
	r.Helper()
	got := r.run(name, args...)
	if got.code != status {
		r.Errorf("%s %q: exit status %d, want %d: %+v", name, args, got.code, status, got)
	}
	if !strings.Contains(got.out+got.err, text) {
		r.Errorf("%s %q: %+v, want %q in it", name, args, got, text)
	}
	return got
}

// process is a program that keeps printing until it is told to end.
type process struct {
	*rig
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	seen  []string
	errs  bytes.Buffer
}

// start starts a program whose lines are read as they come. Programs buffer
// what they print into a pipe; stdbuf tells them not to.
func (r *rig) start(name string, args ...string) *process {
	r.Helper()
	return r.launch(r.command("stdbuf", append([]string{"-oL", tool(r, name)}, args...)...))
}

func (r *rig) launch(c *exec.Cmd) *process {
	r.Helper()
	p := &process{rig: r, cmd: c, lines: make(chan string, 1<<16)}
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	p.in, err = p.cmd.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		r.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		s := bufio.NewScanner(out)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			p.lines <- s.Text()
		}
	}()
	r.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.wait()
		}
	})
	return p
}

// wait reads what is left to read and returns the exit status, -1 after a
// signal.
func (p *process) wait() int {
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// line returns the next line that contains text. The lines before it are kept
// in seen.
func (p *process) line(text string) string {
	p.Helper()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.Fatalf("%s ended before %q\nstdout: %s", p.cmd, text, strings.Join(p.seen, "\n"))
			}
			p.seen = append(p.seen, line)
			if strings.Contains(line, text) {
				return line
			}
		case <-p.ctx.Done():
			p.Fatalf("%s did not print %q\nstdout: %s", p.cmd, text, strings.Join(p.seen, "\n"))
		}
	}
}

// interrupt sends what Ctrl-C sends and returns the exit status.
func (p *process) interrupt() int {
	p.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		p.Fatal(err)
	}
	return p.wait()
}

// recordDir keeps a muxer's pair records as usbmuxd keeps them: one file each.
type recordDir string

func (d recordDir) file(id string) string { return filepath.Join(string(d), id+".plist") }

func (d recordDir) Read(id string) ([]byte, error)  { return os.ReadFile(d.file(id)) }
func (d recordDir) Write(id string, b []byte) error { return os.WriteFile(d.file(id), b, 0o600) }
func (d recordDir) Delete(id string) error          { return os.Remove(d.file(id)) }

// place returns a folder that stands for a fixed system path in rooms: some
// programs can be told no other. Where namespaces are not allowed it is the
// path itself, but only on a machine of CI, which is thrown away.
func (r *rig) place(at string) string {
	r.Helper()
	err := exec.Command(tool(r, "unshare"), append(slices.Clone(unshareFlags), "true")...).Run()
	switch {
	case err == nil:
		// The path of a socket must be short, which a test's own folder is not.
		folder, err := os.MkdirTemp("", "imd")
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { os.RemoveAll(folder) })
		return folder
	case os.Getenv("CI") != "" && os.Getuid() == 0:
		return at
	}
	virtualtest.Lack(r, fmt.Sprintf("this machine allows no private mount namespace (unshare: %v)", err))
	return ""
}

var unshareFlags = []string{"--mount", "--map-root-user"}

// room makes a command that sees folders in the places of system paths, in a
// mount namespace of its own.
func (r *rig) room(places map[string]string, name string, args ...string) *exec.Cmd {
	r.Helper()
	script := ""
	for at, folder := range places {
		if at != folder {
			// A place that this machine does not have is made in memory, above
			// what else is beside it.
			script += fmt.Sprintf(
				"{ [ -d '%[2]s' ] || { mount -t tmpfs tmpfs '%[3]s' && mkdir '%[2]s'; }; } && mount --bind '%[1]s' '%[2]s' && ",
				folder, at, path.Dir(at),
			)
		}
	}
	if script == "" {
		return r.command(name, args...)
	}
	flags := append(slices.Clone(unshareFlags), "sh", "-c", script+`exec "$0" "$@"`, tool(r, name))
	return r.command("unshare", append(flags, args...)...)
}
