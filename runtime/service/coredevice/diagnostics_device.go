package coredevice

import (
	"bytes"
	"context"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// sysdiagnose announces an archive and sends it when the host opens its stream. Hosts
// open the stream even after a dry run, so it then sends an empty archive.
func sysdiagnose(ctx context.Context, s *session, in *input) (any, error) {
	logs, dry := in.sub(keyOptions).option(keyFullLogs), in.flag(keyDryRun)
	if err := in.err(); err != nil {
		return nil, err
	}
	select {
	case s.files <- struct{}{}:
	default:
		return nil, refuse(DomainAction, actionFailed, "Too many files wait to be fetched.")
	}
	name, archive := s.phone.SysdiagnoseName(s.phone.Clock.Now())+".tar.gz", []byte(nil)
	var err error
	if !dry {
		name, archive, err = s.phone.Sysdiagnose(logs)
	}
	if err == nil {
		err = s.sendFile(ctx, archive)
	}
	if err != nil {
		<-s.files
		return nil, err
	}
	return xpc.Dict{
		{Key: keyFilename, Value: name},
		{Key: keyTransfer, Value: xpc.Dict{{Key: keyLength, Value: uint64(len(archive))}}},
	}, nil
}

// sendFile opens the stream of a file and sends the file on a goroutine of its own. The
// stream must be open before the reply announces the file.
func (s *session) sendFile(ctx context.Context, b []byte) error {
	s.fileID++
	w, err := s.conn.OpenFile(ctx, s.fileID)
	if err != nil {
		return err
	}
	s.wg.Go(func() {
		defer func() { <-s.files }()
		defer w.Close()
		if err := w.Send(s.ctx, bytes.NewReader(b), int64(len(b))); err != nil {
			s.log.Debug("file not sent", "err", err)
		}
	})
	return nil
}
