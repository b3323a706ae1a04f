package coredevice

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/remotexpc"
)

func (r *rig) diagnosis() *Diagnosis {
	r.t.Helper()
	c, err := ConnectDiagnosis(r.t.Context(), r)
	r.check(err)
	r.t.Cleanup(func() { closeTwice(r.t, c.Conn) })
	return c
}

// unpack returns the files of an archive by their paths.
func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
}

func TestSysdiagnose(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		p, err := r.phone.Processes.Launch("com.example.shop")
		r.check(err)
		r.phone.Log.Write(log.Entry{PID: p.PID, Message: "something went wrong"})
		report, err := r.phone.Crash(p.PID)
		r.check(err)
		d := r.diagnosis()
		// The dry run comes first, because its file counts among the files of the
		// connection.
		s, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{DryRun: true})
		if err != nil {
			t.Fatalf("dry run: %v", err)
		}
		if s.Size != 0 {
			t.Errorf("dry run: size %d, want 0", s.Size)
		}
		if want := r.phone.SysdiagnoseName(r.phone.Clock.Now()) + ".tar.gz"; s.Name != want {
			t.Errorf("dry run: name %q, want %q", s.Name, want)
		}
		n, err := s.Copy(ctx, io.Discard)
		if n != 0 {
			t.Errorf("dry run holds %d bytes", n)
		}
		if err != nil {
			t.Errorf("Copy of a dry run: %v", err)
		}
		for _, logs := range []bool{true, false} {
			s, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{WithoutLogs: !logs})
			r.check(err)
			var b bytes.Buffer
			n, err := s.Copy(ctx, &b)
			if err != nil {
				t.Fatalf("Copy: %v", err)
			}
			if n != s.Size {
				t.Fatalf("Copy = %d bytes, want %d", n, s.Size)
			}
			if n == 0 {
				t.Error("Copy = 0 bytes")
			}
			if int64(b.Len()) != n {
				t.Errorf("Copy = %d bytes, but wrote %d", n, b.Len())
			}
			files, dir := unpack(t, b.Bytes()), strings.TrimSuffix(s.Name, ".tar.gz")
			want, err := r.phone.Crashes.Files.ReadFile(report)
			if err != nil {
				t.Fatalf("the report %s on the phone: %v", report, err)
			}
			if got := files[path.Join(dir, "crashes_and_spins", report)]; got != string(want) {
				t.Errorf("the report %s in the archive is %q, want %q", report, got, want)
			}
			text, ok := files[dir+"/system_logs.txt"]
			if ok != logs {
				t.Errorf("the archive has logs: %v, want %v", ok, logs)
			}
			if logs && !strings.Contains(text, "something went wrong") {
				t.Errorf("the logs are %q", text)
			}
			if !strings.Contains(files[dir+"/ps.txt"], "/usr/libexec/lockdownd") {
				t.Errorf("processes: %q", files[dir+"/ps.txt"])
			}
			r.check(s.Close())
			if _, err := s.Read(ctx, make([]byte, 1)); err != io.EOF {
				t.Errorf("Read behind the end = %v", err)
			}
		}
	})
}

// TestSysdiagnoseLeft abandons archives in several ways and uses the connection
// afterwards.
func TestSysdiagnoseLeft(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		ctx := t.Context()
		d := r.diagnosis()
		untouched, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{})
		r.check(err)
		r.check(untouched.Close())
		if _, err := untouched.Read(ctx, make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read = %v", err)
		}
		begun, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{})
		r.check(err)
		count, err := begun.Read(ctx, make([]byte, 10))
		if count == 0 {
			t.Error("Read = 0 bytes")
		}
		if err != nil {
			t.Errorf("Read: %v", err)
		}
		r.check(begun.Close())
		stuck, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{})
		r.check(err)
		failure := errors.New("disk full")
		n, err := stuck.Copy(ctx, failing{failure})
		if n != 0 {
			t.Errorf("Copy = %d bytes, want 0", n)
		}
		if !errors.Is(err, failure) {
			t.Errorf("Copy: %v, want %v", err, failure)
		}
		r.check(stuck.Close())
		whole, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{})
		r.check(err)
		n, err = whole.Copy(ctx, io.Discard)
		if n != whole.Size {
			t.Errorf("Copy = %d bytes, want %d", n, whole.Size)
		}
		if err != nil {
			t.Errorf("Copy: %v", err)
		}
		// The device counts the files that no host fetches.
		for {
			s, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{DryRun: true})
			if err == nil {
				if s.index > 2*maxFiles {
					t.Fatal("no limit")
				}
				continue
			}
			e := (*Error)(nil)
			if !errors.As(err, &e) {
				t.Errorf("error %v, want an *Error", err)
			} else if e.Code != actionFailed {
				t.Errorf("error %v has the code %d, want %d", err, e.Code, actionFailed)
			}
			break
		}
	})
}

// TestSysdiagnoseSilent waits for a file that the device does not send.
func TestSysdiagnoseSilent(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		s := &Sysdiagnose{Name: "x", Size: 10, conn: r.diagnosis().Conn, index: 3}
		began := time.Now()
		_, err := s.Copy(t.Context(), io.Discard)
		var silent *link.SilentError
		if !errors.As(err, &silent) {
			t.Errorf("Copy: %v, want a SilentError", err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("Copy took %v, want 30s", took)
		}
	})
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestFileOrder checks the messages on the wire: the stream of the file opens before
// the reply announces the file.
func TestFileOrder(t *testing.T) {
	bubble(t, "ios17", func(t *testing.T, r *rig) {
		x := r.host(Diagnostics)
		i := &Invocation{Feature: FeaturePrefix + featSysdiagnose, Input: xpc.Dict{
			{Key: keyOptions, Value: xpc.Dict{{Key: keyFullLogs, Value: true}}},
			{Key: keyDryRun, Value: false},
		}}
		reply, err := x.Call(t.Context(), i.Encode())
		r.check(err)
		length, _ := reply.Path(keyOutput, keyTransfer, keyLength)
		n, ok := length.(uint64) // unsigned, because idevice ignores other numbers
		if !ok {
			t.Fatalf("the reply %v has no length", reply)
		}
		if n == 0 {
			t.Fatalf("the reply %v has the length 0", reply)
		}
		f, err := x.ReceiveFile(t.Context(), 0, -1)
		r.check(err)
		got, err := io.ReadAll(f.Reader(t.Context()))
		if f.Stream != 2 {
			t.Errorf("the file is on stream %d, want 2", f.Stream)
		}
		if uint64(len(got)) != n {
			t.Errorf("the file has %d bytes, want %d", len(got), n)
		}
		if err != nil {
			t.Errorf("the file: %v", err)
		}
	})
}

// TestCaptureTime checks that the call waits longer for a sysdiagnose than for other
// answers.
func TestCaptureTime(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		c := fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
			time.Sleep(20 * time.Minute)
			return c.Reply(context.Background(), m, output(xpc.Dict{
				{Key: keyFilename, Value: "../x"},
				{Key: keyTransfer, Value: xpc.Dict{{Key: keyLength, Value: uint64(5)}}},
			}))
		})
		s, err := (&Diagnosis{c}).Sysdiagnose(t.Context(), SysdiagnoseOptions{})
		if err != nil {
			t.Fatalf("Sysdiagnose: %v", err)
		}
		if s.Name != "x" {
			t.Errorf("Sysdiagnose = name %q, want x", s.Name)
		}
		if s.Size != 5 {
			t.Errorf("Sysdiagnose = size %d, want 5", s.Size)
		}
		// The device never sends the file.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Read(ctx, make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read = %v", err)
		}
		read := make(chan error)
		go func() { _, err := s.Copy(t.Context(), io.Discard); read <- err }()
		synctest.Wait()
		c.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Copy = %v", err)
		}
	})
}
