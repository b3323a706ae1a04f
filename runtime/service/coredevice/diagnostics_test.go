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
		if n, err := s.Copy(ctx, io.Discard); n != 0 || err != nil {
			t.Errorf("dry run holds %d bytes, %v", n, err)
		}
		for _, logs := range []bool{true, false} {
			s, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{WithoutLogs: !logs})
			r.check(err)
			var b bytes.Buffer
			if n, err := s.Copy(ctx, &b); n != s.Size || err != nil || n == 0 ||
				int64(b.Len()) != n {
				t.Fatalf("Copy = %d, %v, want %d", n, err, s.Size)
			}
			files, dir := unpack(t, b.Bytes()), strings.TrimSuffix(s.Name, ".tar.gz")
			want, err := r.phone.Crashes.Files.ReadFile(report)
			if err != nil || files[path.Join(dir, "crashes_and_spins", report)] != string(want) {
				t.Errorf("the report %s is not in the archive: %v", report, err)
			}
			text, ok := files[dir+"/system_logs.txt"]
			if ok != logs || logs && !strings.Contains(text, "something went wrong") {
				t.Errorf("logs %v: %q", ok, text)
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
		if n, err := begun.Read(ctx, make([]byte, 10)); n == 0 || err != nil {
			t.Errorf("Read = %d, %v", n, err)
		}
		r.check(begun.Close())
		stuck, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{})
		r.check(err)
		failure := errors.New("disk full")
		if n, err := stuck.Copy(ctx, failing{failure}); n != 0 || !errors.Is(err, failure) {
			t.Errorf("Copy = %d, %v", n, err)
		}
		r.check(stuck.Close())
		whole, err := d.Sysdiagnose(ctx, SysdiagnoseOptions{})
		r.check(err)
		if n, err := whole.Copy(ctx, io.Discard); n != whole.Size || err != nil {
			t.Errorf("Copy = %d, %v", n, err)
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
			if e := (*Error)(nil); !errors.As(err, &e) || e.Code != actionFailed {
				t.Errorf("error %v", err)
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
		if !ok || n == 0 {
			t.Fatalf("reply %v", reply)
		}
		f, err := x.ReceiveFile(t.Context(), 0, -1)
		r.check(err)
		got, err := io.ReadAll(f.Reader(t.Context()))
		if f.Stream != 2 || uint64(len(got)) != n || err != nil {
			t.Errorf("stream %d, %d bytes, %v, want %d", f.Stream, len(got), err, n)
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
		if err != nil || s.Name != "x" || s.Size != 5 {
			t.Fatalf("Sysdiagnose = %+v, %v", s, err)
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
