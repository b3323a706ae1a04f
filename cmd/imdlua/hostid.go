package main

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/rsd"
)

const (
	// hostFile has the identity of this computer for lists of services, in the folder
	// of stateFile.
	hostFile = "rsd-host"
	// remotectlTime bounds remotectl, which waits for remoted, even while another program has
	// suspended it.
	remotectlTime = 2 * time.Second
)

// hostIdentity returns the identity of this computer for lists of services, which is the same in
// all programs of the computer. On macOS it is that of remoted. Elsewhere, and while remoted does
// not answer, it is the one in hostFile.
func (c *cli) hostIdentity(ctx context.Context) (xpc.UUID, error) {
	path := c.stateFile(hostFile)
	if id, ok := c.remotedIdentity(ctx); ok {
		if path != "" {
			_ = rsd.KeepHostIdentity(path, id) // it is only for when remoted does not answer
		}
		return id, nil
	}
	if path == "" {
		return xpc.UUID{}, errors.New("the environment does not name the folder of " + hostFile)
	}
	return rsd.HostIdentity(path, nil)
}

// remotedIdentity asks remoted of macOS for its identity.
func (c *cli) remotedIdentity(ctx context.Context) (xpc.UUID, bool) {
	if c.remoted == nil {
		return xpc.UUID{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, remotectlTime)
	defer cancel()
	dump, err := c.remoted(ctx)
	if err != nil {
		return xpc.UUID{}, false
	}
	return rsd.RemotedIdentity(dump)
}

// remotectl returns a function that returns the state of remoted, or nil if the system has none.
func remotectl() func(context.Context) ([]byte, error) {
	if runtime.GOOS != "darwin" {
		return nil
	}
	return func(ctx context.Context) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "/usr/libexec/remotectl", "dumpstate")
		cmd.WaitDelay = remotectlTime
		return cmd.Output()
	}
}
