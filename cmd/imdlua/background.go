package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/savefile"
)

// A forward in the background has three files in one folder:
//
//	forward-8100.pid   its process id, for people and their scripts
//	forward-8100.log   its messages
//	forward-8100.sock  the socket that receives requests to stop
//
// --stop uses the socket, because the process id may belong to another process by
// now. A socket that does not answer was left by a forward that was killed.

// stopTime is how long a forward may take to end. It may take twice as long to begin.
const stopTime = 15 * time.Second

// readyLine is the last line that the background process writes to the process that started it.
const readyLine = "ready"

// backgroundFiles is the path of the three files without their extensions.
type backgroundFiles string

func (b backgroundFiles) pid() string    { return string(b) + ".pid" }
func (b backgroundFiles) log() string    { return string(b) + ".log" }
func (b backgroundFiles) socket() string { return string(b) + ".sock" }

// runFolder returns the folder of pid files. It sets the permissions so that only the user has
// access, even if the folder existed, because whoever can write to it can stop forwards.
func (c *cli) runFolder() (string, error) {
	dir := c.stateFile("run")
	if base, ok := c.env("XDG_RUNTIME_DIR"); ok && filepath.IsAbs(base) {
		dir = filepath.Join(base, "imdlua")
	}
	if dir == "" {
		return "", usageError("neither XDG_RUNTIME_DIR nor HOME is set").WithHint("use --pid-file")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o700)
}

// createLog opens a new log file as savefile.Private does.
func createLog(path string) (*os.File, error) {
	if err := savefile.Private(path, nil); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	named, statErr := os.Lstat(path)
	err = errors.Join(err, statErr)
	if err == nil && !os.SameFile(opened, named) {
		err = fmt.Errorf("%s was replaced by another program", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (c *cli) backgroundFiles(f *forwardFlags, port uint16) (backgroundFiles, error) {
	if f.pidFile != "" {
		path, err := filepath.Abs(strings.TrimSuffix(f.pidFile, ".pid"))
		return backgroundFiles(path), err
	}
	dir, err := c.runFolder()
	return backgroundFiles(filepath.Join(dir, fmt.Sprintf("forward-%d", port))), err
}

// detachForward starts this program again and waits until it listens.
func (c *cli) detachForward(ctx context.Context, f *forwardFlags, specs []forwardSpec) error {
	if c.flags.virtual != "" {
		return usageError("-d with --virtual: other programs could not reach that device").WithHint(
			"serve the device with imdlua virtual and use --usbmux",
		)
	}
	if f.pidFile == "" && specs[0].local == 0 {
		return usageError("with -d the first port must not be 0, because --stop needs it").WithHint(
			"or use --pid-file",
		)
	}
	files, err := c.backgroundFiles(f, specs[0].local)
	if err != nil {
		return err
	}
	if conn, err := net.Dial("unix", files.socket()); err == nil {
		conn.Close()
		return usageError("a forward of port %d runs in the background already",
			specs[0].local).WithHint("imdlua forward --stop %d ends it", specs[0].local)
	}
	log, err := createLog(files.log())
	if err != nil {
		return err
	}
	defer log.Close()
	program, err := c.executable()
	if err != nil {
		return err
	}
	args := slices.DeleteFunc(slices.Clone(c.args),
		func(a string) bool { return a == "-d" || a == "--detach" })
	at := slices.Index(args, "--")
	if at < 0 {
		at = len(args)
	}
	more, err := c.chosenTunnel(ctx)
	if err != nil {
		return err
	}
	args = slices.Insert(args, at, append(more, "--in-background")...)
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = detached()
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return c.awaitChild(ctx, cmd, stdout, files)
}

// chosenTunnel decides which device --tunnel means while there is a terminal for questions, and
// returns a flag that names the device.
func (c *cli) chosenTunnel(ctx context.Context) ([]string, error) {
	if !c.flags.tunnel.given || c.flags.tunnel.value != "" {
		return nil, nil
	}
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	d, err := c.oneDevice(ctx)
	if err != nil {
		return nil, err
	}
	return []string{"--tunnel=" + d.UDID()}, nil
}

// awaitChild prints the output of the new process until that is ready. If the process ends before,
// awaitChild prints its log and returns its exit code as an error.
func (c *cli) awaitChild(
	ctx context.Context, cmd *exec.Cmd, stdout io.Reader, files backgroundFiles,
) error {
	ctx, cancel := c.timed(ctx, 2*stopTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	ready := false
	s := bufio.NewScanner(stdout)
	for !ready && s.Scan() {
		ready = s.Text() == readyLine
		if !ready {
			fmt.Fprintln(c.stdout, s.Text())
		}
	}
	if ready {
		c.notice("in the background as process %d; pid in %s, log in %s", cmd.Process.Pid,
			files.pid(), files.log())
		return cmd.Process.Release()
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text, readErr := tailOf(files.log())
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	_, _ = c.stderr.Write(text)
	if code := cmd.ProcessState.ExitCode(); code > 0 {
		return reported{&host.ExitError{Code: code}}
	}
	return errors.New("the process in the background ended at once")
}

// maxShownLog is how many bytes of the log of a process that has ended are shown.
const maxShownLog = 64 << 10

// tailOf returns the last lines of a log.
func tailOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	begin := max(info.Size()-maxShownLog, 0)
	text, err := io.ReadAll(io.NewSectionReader(f, begin, maxShownLog))
	if err != nil || begin == 0 {
		return text, err
	}
	if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
		text = rest
	}
	return append([]byte("(the beginning of the log is left out)\n"), text...), nil
}

// serveInBackground runs the forward in the process that detachForward has started.
func (c *cli) serveInBackground(ctx context.Context, f *forwardFlags, specs []forwardSpec) error {
	files, err := c.backgroundFiles(f, specs[0].local)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var control net.Listener
	stopped := make(chan struct{})
	defer func() {
		if control == nil {
			return
		}
		os.Remove(files.pid())
		control.Close() // makes awaitStop close its connections, and removes the socket
		<-stopped
	}()
	return c.serveForwards(ctx, specs, func([]net.Listener) error {
		l, err := link.Listen(ctx, "unix", files.socket())
		if err != nil {
			return err
		}
		control = l
		go awaitStop(control, func() { cancel(errInterrupted) }, stopped)
		err = savefile.Private(files.pid(), []byte(strconv.Itoa(os.Getpid())+"\n"))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.stdout, readyLine)
		return err
	})
}

// awaitStop accepts requests to stop. The answer to a request is that its connection is closed,
// which happens at the end of the forward.
func awaitStop(l net.Listener, stop func(), done chan<- struct{}) {
	defer close(done)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		var word [5]byte
		if _, err := io.ReadFull(conn, word[:]); err == nil && string(word[:]) == "stop\n" {
			conns = append(conns, conn)
			stop()
		} else {
			conn.Close()
		}
	}
}

// stopForwards ends the forwards of the given local ports, or all.
func (c *cli) stopForwards(ctx context.Context, f *forwardFlags, args []string) error {
	var all []backgroundFiles
	for _, a := range args {
		local, _, _ := strings.Cut(a, ":")
		port, err := strconv.ParseUint(local, 10, 16)
		if err != nil {
			return usageError("--stop takes local ports, not %q", a)
		}
		files, err := c.backgroundFiles(f, uint16(port))
		if err != nil {
			return err
		}
		all = append(all, files)
	}
	if len(args) == 0 && f.pidFile != "" {
		files, err := c.backgroundFiles(f, 0)
		if err != nil {
			return err
		}
		all = append(all, files)
	} else if len(args) == 0 {
		dir, err := c.runFolder()
		if err != nil {
			return err
		}
		pids, err := filepath.Glob(filepath.Join(dir, "forward-*.pid"))
		if err != nil {
			return err
		}
		for _, p := range pids {
			all = append(all, backgroundFiles(strings.TrimSuffix(p, ".pid")))
		}
		if len(all) == 0 {
			c.notice("no forward runs in the background")
		}
	}
	var errs []error
	for _, files := range all {
		errs = append(errs, c.stopOne(ctx, files))
	}
	return errors.Join(errs...)
}

func (c *cli) stopOne(ctx context.Context, files backgroundFiles) error {
	conn, err := net.Dial("unix", files.socket())
	if err != nil && !link.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return err // the forward may be running: the socket belongs to another user
	}
	if err != nil {
		_, stat := os.Stat(files.pid())
		os.Remove(files.pid())
		os.Remove(files.socket())
		if errors.Is(stat, fs.ErrNotExist) {
			return fmt.Errorf("no forward runs in the background with pid file %s", files.pid())
		}
		c.notice("%s belonged to a forward that was killed; removed", files.pid())
		return nil
	}
	defer conn.Close()
	ctx, cancel := c.timed(ctx, stopTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "stop\n"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, conn) // returns when the forward has ended
	if ctx.Err() != nil {
		return fmt.Errorf("the forward of %s does not stop: %w", files.pid(), context.Cause(ctx))
	}
	_, err = fmt.Fprintf(c.stdout, "stopped %s\n", filepath.Base(string(files)))
	return err
}
