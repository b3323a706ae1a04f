package coredevice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

const featSysdiagnose = "capturesysdiagnose"

const (
	keyFullLogs = "collectFullLogs"
	keyDryRun   = "isDryRun"
	keyFilename = "preferredFilename"
	keyTransfer = "fileTransfer" // {expectedLength: uint64}
	keyLength   = "expectedLength"

	// maxFile bounds the size of a file that a device may announce.
	maxFile = 64 << 30
	// copyBuffer is the size of the buffer that Copy uses.
	copyBuffer = 64 << 10
	// defaultIdle is the default of Sysdiagnose.Idle.
	defaultIdle = 30 * time.Second
)

// Diagnosis is a connection to the diagnostics service of a device.
type Diagnosis struct{ *Conn }

// ConnectDiagnosis opens the diagnostics service on a device.
func ConnectDiagnosis(ctx context.Context, o service.Opener) (*Diagnosis, error) {
	c, err := Connect(ctx, o, Diagnostics)
	if err != nil {
		return nil, err
	}
	return &Diagnosis{c}, nil
}

// SysdiagnoseOptions select what is collected. The zero value selects everything.
type SysdiagnoseOptions struct {
	// WithoutLogs excludes the full logs.
	WithoutLogs bool
	// DryRun collects nothing. The device only sends the name of the archive.
	DryRun bool
}

// Sysdiagnose is an archive that the device sends. Only one goroutine may use it at a
// time.
type Sysdiagnose struct {
	// Name is the file name of the archive, as the device sent it, without a directory.
	Name string
	// Size is the size in bytes, or 0 after a dry run.
	Size int64
	// Idle is how long Copy waits while no byte arrives. After this time it ends with a
	// link.SilentError. 0 means 30 seconds; a negative value means no limit.
	Idle time.Duration

	conn  *Conn
	index int
	file  *remotexpc.FileReader
	err   error // reason for the end of the archive
}

// Sysdiagnose asks the device to collect diagnostics, which takes minutes. It returns
// when the archive can be read. If ctx has no deadline, the call ends after half an
// hour.
func (d *Diagnosis) Sysdiagnose(ctx context.Context, o SysdiagnoseOptions) (*Sysdiagnose, error) {
	ctx, cancel := bounded(ctx, captureTimeout)
	defer cancel()
	s := &Sysdiagnose{conn: d.Conn}
	input := xpc.Dict{
		{Key: keyOptions, Value: xpc.Dict{{Key: keyFullLogs, Value: !o.WithoutLogs}}},
		{Key: keyDryRun, Value: o.DryRun},
	}
	var size uint64
	_, err := d.exchange(ctx, &Invocation{
		Feature: FeaturePrefix + featSysdiagnose, Input: input,
	}, "", func(v any) {
		out, _ := v.(xpc.Dict)
		s.Name, _ = out.String(keyFilename)
		transfer, ok := out.Dict(keyTransfer)
		size, _ = transfer.Uint(keyLength)
		if !ok {
			return
		}
		s.index = d.files
		d.files++
	})
	switch {
	case err != nil:
		return nil, err
	case size > maxFile:
		return nil, failed(featSysdiagnose, "",
			fmt.Errorf("%w: file of %d bytes", ErrProtocol, size))
	case size == 0 && !o.DryRun:
		return nil, failed(featSysdiagnose, "", fmt.Errorf("%w: no file", ErrProtocol))
	}
	s.Size = int64(size)
	s.Name = safeName(s.Name)
	if s.Name == "" {
		s.Name = "sysdiagnose.tar.gz"
	}
	return s, nil
}

// safeName removes directories from the name that the device sent.
func safeName(name string) string {
	name = path.Base(strings.ReplaceAll(clip(name), "\\", "/"))
	if name == "." || name == ".." || name == "/" || strings.ContainsRune(name, 0) {
		return ""
	}
	return name
}

// Read waits for the next bytes of the archive. At the end of the archive it returns
// io.EOF itself.
func (s *Sysdiagnose) Read(ctx context.Context, p []byte) (int, error) {
	if s.err == nil && s.Size == 0 {
		s.err = io.EOF
	}
	if s.err == nil && s.file == nil {
		f, err := s.conn.x.ReceiveFile(ctx, s.index, s.Size)
		if err != nil {
			return 0, failed(featSysdiagnose, s.Name, err)
		}
		s.file = f
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.file.Read(ctx, p)
	switch {
	case err == io.EOF:
		s.err = io.EOF
		return n, io.EOF
	case err != nil && ctx.Err() == nil:
		s.err = failed(featSysdiagnose, s.Name, err)
		return n, s.err
	case err != nil:
		return n, failed(featSysdiagnose, s.Name, err)
	}
	return n, nil
}

// Copy writes the whole archive to w.
func (s *Sysdiagnose) Copy(ctx context.Context, w io.Writer) (int64, error) {
	buf := make([]byte, copyBuffer)
	for total := int64(0); ; {
		n, err := s.readSoon(ctx, buf)
		if n > 0 {
			m, err := w.Write(buf[:n])
			total += int64(m)
			if err != nil {
				return total, failed(featSysdiagnose, s.Name, err)
			}
		}
		switch {
		case errors.Is(err, io.EOF) && s.err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		}
	}
}

// readSoon is like Read, but waits no longer than s.Idle.
func (s *Sysdiagnose) readSoon(ctx context.Context, p []byte) (int, error) {
	idle := s.Idle
	if idle == 0 {
		idle = defaultIdle
	}
	if idle < 0 {
		return s.Read(ctx, p)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, idle, &link.SilentError{For: idle})
	defer cancel()
	return s.Read(ctx, p)
}

// Close discards the part of the archive that was not read. The connection stays
// usable.
func (s *Sysdiagnose) Close() error {
	if s.err == nil {
		s.err = failed(featSysdiagnose, s.Name, net.ErrClosed)
	}
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
