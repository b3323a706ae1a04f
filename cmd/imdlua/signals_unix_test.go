//go:build !windows

package main

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/remotepair"
)

var (
	signalsInt  = flag.Int("signals.int", 20, "how many SIGINT TestSignals sends")
	signalsKill = flag.Int("signals.kill", 10, "how many SIGKILL TestSignals sends")
	signalsSeed = flag.Uint64("signals.seed", 1, "the moments at which it sends them")
)

// pullsAreWhole is true if a pull that was interrupted leaves no file with the final name.
const pullsAreWhole = true

// signalTime is the longest time after its start, or after the start of its transfers, at which a
// process gets its signal.
const signalTime = 300 * time.Millisecond

// signalScript pulls and pushes files, writes one, reads a log and pairs again, until it is
// stopped. With an argument it does so once.
const signalScript = `
local dev = device()
local folder, once = args[1], args[2]
local log = task.spawn(function()
	for line in dev:syslog() do
		fs.write(path.join(folder, "line.json"), json.encode{ text = line.message, stop = "end" })
	end
end)
dev:pair()
print("begun")
repeat
	dev.files:push(path.join(folder, "source.bin"), "Downloads/source.bin")
	dev.files:pull("Downloads/source.bin", path.join(folder, "pulled.bin"))
	dev:unpair()
	dev:pair()
until once
log:cancel()
print("whole")
`

// signalBench is a virtual device in a process of its own, with the files of the processes that use
// it.
type signalBench struct {
	home, folder, socket string
	script               string
	source               []byte
	server               *process
	pairing              string // address
}

// TestSignals ends processes at random moments and checks the files that they leave: none may be
// half-written, and none may prevent the next process from working.
func TestSignals(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "imd") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &signalBench{
		home: filepath.Join(dir, "home"), folder: filepath.Join(dir, "files"),
		socket: filepath.Join(dir, "mux"), script: script(t, signalScript),
	}
	random := rand.New(rand.NewPCG(*signalsSeed, 0))
	b.source = make([]byte, 3<<20)
	for i := range b.source {
		b.source[i] = byte(random.Uint32())
	}
	if err := os.MkdirAll(b.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.folder, "source.bin"), b.source, 0o600); err != nil {
		t.Fatal(err)
	}
	b.serve(t)
	for n := range *signalsInt + *signalsKill {
		s := syscall.SIGINT
		if n >= *signalsInt {
			s = syscall.SIGKILL
		}
		moment := time.Duration(random.Int64N(int64(signalTime)))
		b.strike(t, n, s, moment)
		b.look(t)
		if s == syscall.SIGKILL && n%5 == 0 {
			b.server.signal(t, s)
			b.server.wait(t)
			b.serve(t)
		}
		if t.Failed() {
			t.Fatalf("after signal %d, %v at %v, with -signals.seed %d", n, s, moment, *signalsSeed)
		}
	}
	b.whole(t)
}

// serve starts the device at the address of the last one, which may have been killed.
func (b *signalBench) serve(t *testing.T) {
	t.Helper()
	b.server = startProcess(t, command(t, "virtual", "--usbmux", "unix:"+b.socket, "--echo", "7",
		"--network", "127.0.0.1", "--log-rate", "200"))
	out := b.server.out.await(t, "remotepairing ")
	b.server.out.await(t, " rsd ")
	fields := strings.Fields(out[strings.Index(out, "network "):])
	at := slices.Index(fields, "remotepairing")
	b.pairing = net.JoinHostPort(fields[2], fields[at+1])
}

// runs returns the arguments of the processes that get a signal in turn.
func (b *signalBench) runs() [][]string {
	mux := "unix:" + b.socket
	return [][]string{
		{"--usbmux", mux, b.script, b.folder},
		{"--usbmux", mux, "pair", "--remote", b.pairing},
		{"--usbmux", mux, "forward", "--in-background", "--pid-file", b.background().pid(), "0:7"},
	}
}

func (b *signalBench) background() backgroundFiles {
	return backgroundFiles(filepath.Join(b.folder, "forward"))
}

// start runs the program with the state that all processes share.
func (b *signalBench) start(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, "HOME="+b.home, "XDG_CONFIG_HOME="+b.home, "XDG_RUNTIME_DIR="+b.home)
	return startProcess(t, cmd)
}

// strike runs a process and sends it a signal after the time moment.
func (b *signalBench) strike(t *testing.T, n int, s syscall.Signal, moment time.Duration) {
	t.Helper()
	runs := b.runs()
	p := b.start(t, runs[n%len(runs)]...)
	if n%len(runs) == 0 && n%2 == 0 {
		p.out.await(t, "begun\n") // without it, most signals would arrive while keys are made
	}
	select {
	case <-p.ended:
	case <-time.After(moment):
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	code := p.wait(t)
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case code == 0: // the process had ended before, or a signal is no error for it
	case code == 130 && s == syscall.SIGINT:
	case status.Signaled() && status.Signal() == s: // it did not handle signals yet
	default:
		t.Errorf("%q ended with %v\n%s%s", runs[n%len(runs)], p.cmd.ProcessState, p.out, p.errs)
	}
	text := p.errs.String()
	for _, part := range []string{"panic", "goroutine "} {
		if strings.Contains(text, part) {
			t.Errorf("it printed %q:\n%s", part, text)
		}
	}
}

// look checks all files that have their final names.
func (b *signalBench) look(t *testing.T) {
	t.Helper()
	if text, err := os.ReadFile(filepath.Join(b.folder, "line.json")); err == nil {
		if !bytes.HasPrefix(text, []byte("{")) || !bytes.HasSuffix(text, []byte("}")) {
			t.Errorf("line.json is half-written: %q", text)
		}
	}
	pulled, err := os.ReadFile(filepath.Join(b.folder, "pulled.bin"))
	if err == nil && !bytes.Equal(pulled, b.source) {
		if pullsAreWhole {
			t.Errorf("pulled.bin has %d bytes, want the whole file", len(pulled))
		}
		if !bytes.HasPrefix(b.source, pulled) {
			t.Errorf("pulled.bin has %d bytes that are not in the file", len(pulled))
		}
	}
	pid, err := os.ReadFile(b.background().pid())
	if err == nil && !bytes.HasSuffix(pid, []byte("\n")) {
		t.Errorf("the pid file is half-written: %q", pid)
	}
	source, err := os.ReadFile(filepath.Join(b.folder, "source.bin"))
	if err != nil {
		t.Error(err)
	}
	if !bytes.Equal(source, b.source) {
		t.Errorf("the pushed file is damaged: it has %d bytes", len(source))
	}
	b.lookAtRecords(t)
}

func (b *signalBench) lookAtRecords(t *testing.T) {
	t.Helper()
	store := remotepair.NewDir(filepath.Join(b.home, "imdlua", "remotepairing"))
	list, err := store.List(t.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Error(err)
	}
	for _, id := range list {
		if _, err := store.Load(t.Context(), id); err != nil {
			t.Errorf("a pair record is damaged: %v", err)
		}
	}
	if _, err := store.Identity(t.Context(), "testhost"); err != nil {
		t.Errorf("the identity of this host is damaged: %v", err)
	}
}

// whole runs all processes once to their ends.
func (b *signalBench) whole(t *testing.T) {
	t.Helper()
	runs := b.runs()
	p := b.start(t, append(runs[0], "once")...)
	p.want(t, 0)
	wantIn(t, "the script", p.out.String(), "whole\n")
	pulled, err := os.ReadFile(filepath.Join(b.folder, "pulled.bin"))
	if err != nil {
		t.Error(err)
	}
	if !bytes.Equal(pulled, b.source) {
		t.Errorf("pulled.bin is damaged: it has %d bytes", len(pulled))
	}
	p = b.start(t, runs[1]...)
	p.want(t, 0)
	p = b.start(t, runs[2]...)
	p.out.await(t, readyLine)
	b.start(t, "forward", "--stop", "--pid-file", b.background().pid()).want(t, 0)
	p.want(t, 0)
	b.look(t)
	b.server.signal(t, syscall.SIGTERM)
	b.server.want(t, 0)
	for _, left := range []string{b.socket, b.background().pid(), b.background().socket()} {
		if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}
