//go:build linux

package interop

import (
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/virtual"
)

// evidence says what from other projects shows that the virtual device implements a
// service as real devices do. Exactly one field is set.
type evidence struct {
	// tests are the tests of this package in which a program of another project connects
	// to the service. TestMain checks that it does.
	tests []string
	// bytes is a file of another project, below runtime, that a test of the service reads.
	bytes string
	// none is the reason why there is neither.
	none string
}

// evidences has the evidence of every service of the virtual device.
var evidences = map[string]evidence{
	"com.apple.afc":                   {tests: []string{"TestIfuse", "TestGoIOS"}},
	"com.apple.mobile.house_arrest":   {tests: []string{"TestIfuseApps", "TestGoIOS"}},
	"com.apple.crashreportcopymobile": {tests: []string{"TestIdeviceCrashReport", "TestGoIOS"}},
	"com.apple.crashreportmover":      {tests: []string{"TestIdeviceCrashReport", "TestGoIOS"}},
	"com.apple.syslog_relay":          {tests: []string{"TestIdeviceSyslog", "TestGoIOS"}},
	"com.apple.os_trace_relay":        {tests: []string{"TestGoIOS"}},
	"com.apple.mobile.diagnostics_relay": {
		tests: []string{"TestIdeviceDiagnostics", "TestGoIOS"},
	},
	"com.apple.mobile.notification_proxy": {
		tests: []string{"TestIdeviceNotificationProxy"},
	},
	"com.apple.mobile.insecure_notification_proxy": {
		tests: []string{"TestLibimobiledevice"},
	},
	"com.apple.mobile.heartbeat": {tests: []string{"TestLibimobiledevice"}},
	"com.apple.mobile.installation_proxy": {
		tests: []string{"TestIdeviceInstaller", "TestGoIOS"},
	},
	"com.apple.mobile.mobile_image_mounter": {
		tests: []string{"TestImageMounter", "TestGoIOS"},
	},
	"com.apple.instruments.remoteserver.DVTSecureSocketProxy": {
		tests: []string{"TestGoIOS"},
	},
	"com.apple.dt.simulatelocation":   {tests: []string{"TestGoIOS"}},
	"com.apple.coredevice.deviceinfo": {tests: []string{"TestGoIOS"}},
	"com.apple.coredevice.appservice": {
		bytes: "service/coredevice/testdata/go-ios/xpc_dict.bin",
	},
	"com.apple.coredevice.openstdiosocket": {
		none: "no command of go-ios 1.2.0 opens it",
	},
	"com.apple.coredevice.diagnosticsservice": {
		none: "neither go-ios nor a program of Debian uses it",
	},
	"com.apple.internal.devicecompute.CoreDeviceProxy": {tests: []string{"TestGoIOS"}},
	"com.apple.dt.remotepairingdeviced.lockdown": {
		bytes: "remotepair/testdata/vectors.json",
	},
	"com.apple.internal.dt.coredevice.untrusted.tunnelservice": {
		bytes: "remotepair/testdata/vectors.json",
	},
	"com.apple.mobile.lockdown.remote.trusted": {
		none: "no program of CI uses it; TestIdeviceInfo tries the same code over the cable",
	},
	"com.apple.mobile.lockdown.remote.untrusted": {
		none: "no program of CI uses it; TestIdeviceInfo tries the same code over the cable",
	},
}

// TestEvidence checks that evidences has every service of the catalogue and nothing else,
// and that the tests and the files that it names exist.
func TestEvidence(t *testing.T) {
	t.Parallel()
	services, tests := virtual.Services(), testFunctions(t)
	for _, name := range services {
		if _, ok := evidences[name]; !ok {
			t.Errorf("%s is in catalog.go, but not in evidences: name a test in which a program "+
				"of another project uses it, or a file of bytes", name)
		}
	}
	for name, e := range evidences {
		if !slices.Contains(services, name) {
			t.Errorf("%s is in evidences, but not in catalog.go", name)
		}
		kinds := 0
		for _, set := range []bool{len(e.tests) > 0, e.bytes != "", e.none != ""} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			t.Errorf("%s has %d kinds of evidence, want 1", name, kinds)
		}
		for _, test := range e.tests {
			if !tests[test] {
				t.Errorf("%s names %s, which is not a test of this package", name, test)
			}
		}
		if e.bytes == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(e.bytes))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// testFunctions returns the names of the tests of this package.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// opened has the services that the programs of each test have connected to, and passed
// the tests that have passed.
var (
	witnesses sync.Mutex
	opened    = map[string]map[string]bool{}
	passed    = map[string]bool{}
)

// witness returns a log handler for the virtual devices of a test. It records the
// services that programs connect to.
func witness(t *testing.T) slog.Handler {
	test, _, _ := strings.Cut(t.Name(), "/")
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		witnesses.Lock()
		defer witnesses.Unlock()
		passed[test] = true
	})
	return witnessHandler{test: test}
}

type witnessHandler struct {
	test    string
	service string // attribute "service" of the logger
}

func (h witnessHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h witnessHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "service connection began" {
		return nil
	}
	service := h.service
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "service" {
			service = a.Value.String()
		}
		return true
	})
	witnesses.Lock()
	defer witnesses.Unlock()
	if opened[h.test] == nil {
		opened[h.test] = map[string]bool{}
	}
	opened[h.test][service] = true
	return nil
}

func (h witnessHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "service" {
			h.service = a.Value.String()
		}
	}
	return h
}

func (h witnessHandler) WithGroup(string) slog.Handler { return h }

// unopened returns a line for every test that has passed without a connection to a service
// that evidences claims it uses.
func unopened() []string {
	witnesses.Lock()
	defer witnesses.Unlock()
	var lines []string
	for _, service := range slices.Sorted(maps.Keys(evidences)) {
		for _, test := range evidences[service].tests {
			if passed[test] && !opened[test][service] {
				lines = append(lines, fmt.Sprintf("%s is in evidences for %s, but no program of it "+
					"has connected to that service", test, service))
			}
		}
	}
	return lines
}

// TestMain runs the tests and then checks that those that are evidence of a service have
// used it.
func TestMain(m *testing.M) {
	code := m.Run()
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		os.Exit(code) // only parts of the tests have run
	}
	for _, line := range unopened() {
		fmt.Fprintln(os.Stderr, "--- FAIL:", line)
		code = max(code, 1)
	}
	os.Exit(code)
}
