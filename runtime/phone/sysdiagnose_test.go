package phone_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/crashes"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestSysdiagnose(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	p.Log.Write(log.Entry{PID: 1, Subsystem: "s", Category: "c", Message: "two\nlines"})
	for name, size := range map[string]int{
		"large": phone.MaxDiagnosed + 1, "small": phone.MaxDiagnosed,
	} {
		if err := p.Crashes.Files.WriteFile(name, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for _, logs := range []bool{true, false} {
		name, archive, err := p.Sysdiagnose(logs)
		if err != nil {
			t.Fatalf("Sysdiagnose: %v", err)
		}
		if !strings.HasPrefix(name, "sysdiagnose_") {
			t.Fatalf("Sysdiagnose = %q, want the prefix sysdiagnose_", name)
		}
		if !strings.HasSuffix(name, "_iPhone-OS_iPhone_"+p.Identity.Build+".tar.gz") {
			t.Fatalf("Sysdiagnose = %q, want the suffix _iPhone-OS_iPhone_%s.tar.gz", name,
				p.Identity.Build)
		}
		left, err := p.Crashes.Files.ReadFile(path.Join(crashes.SysdiagnoseDir, name))
		if err != nil {
			t.Errorf("the archive among the crash reports: %v", err)
		} else if !bytes.Equal(left, archive) {
			t.Errorf("the archive among the crash reports has %d bytes, want %d", len(left),
				len(archive))
		}
		z, err := gzip.NewReader(bytes.NewReader(archive))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.TrimPrefix(h.Name, strings.TrimSuffix(name, ".tar.gz")+"/")] = string(b)
		}
		if text := files["system_logs.txt"]; strings.Contains(text,
			"launchd[1] <Notice>: [s:c] two lines\n") != logs {
			t.Errorf("logs %v: %q", logs, text)
		}
		if _, ok := files["crashes_and_spins/large"]; ok {
			t.Error("crashes_and_spins/large is in the archive")
		} else if len(files["crashes_and_spins/small"]) != phone.MaxDiagnosed {
			t.Errorf("crashes_and_spins/small has %d bytes, want %d",
				len(files["crashes_and_spins/small"]), phone.MaxDiagnosed)
		}
		if !strings.Contains(files["ps.txt"], "/sbin/launchd\n") {
			t.Errorf("ps.txt = %q, want launchd in it", files["ps.txt"])
		}
		if files["crashes_and_spins/Panics"] != "" {
			t.Errorf("crashes_and_spins/Panics = %q, want no content",
				files["crashes_and_spins/Panics"])
		}
		for name := range files {
			if strings.Contains(name, ".tar.gz") {
				t.Errorf("%s is an archive in the archive", name)
			}
		}
		if len(files) < 10 {
			t.Errorf("%d files, want at least 10", len(files))
		}
	}
}
