package runtime

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var unreachable = flag.Bool("unreachable", false,
	"run TestUnreachable, which takes a minute")

// Reasons for functions that the program does not reach.
const (
	forTests = "tests use it to make or read bytes, or in place of the real one"
	marker   = "it marks a type and is not called"
	printed  = "fmt calls it, and keeps a key out of logs that way"
	served   = "the client of what the virtual device serves to other programs; scripts " +
		"reach it by the calls for any feature or message"
	decoded = "tests decode bytes of real devices with it; XCTest sessions are not built yet"
)

// notReached are the functions that cmd/imdlua does not reach, by package and name.
var notReached = map[string]map[string]string{
	"runtime/bonjour": {
		"Instance.clone": forTests, "Static.Browse": forTests, "AuthTag": forTests,
	},
	"runtime/codec/nskeyed": {
		"Unarchive":                    forTests,
		"Capabilities.ArchiveObject":   decoded,
		"TestIdentifier.ArchiveObject": decoded, "TestIdentifierSet.ArchiveObject": decoded,
		"XCTest": decoded, "decodeTestIdentifier": decoded, "decodeTestIdentifierSet": decoded,
		"NewTestConfiguration": decoded,
	},
	"runtime/codec/xpc": {"Read": forTests, "DecodeObject": forTests, "NewFileTransfer": forTests},
	"runtime/device":    {"DirectAt": forTests},
	"runtime/dtx": {
		"Double": forTests, "Buffer": forTests, "AppendArgs": forTests,
		"byteSource.Read": forTests, "Decode": forTests,
	},
	"runtime/host":        {"Hints": forTests},
	"runtime/host/api":    {"List.view": marker, "Dict.view": marker},
	"runtime/link":        {"ReadFrame": forTests, "NewPlistConn": forTests},
	"runtime/pair":        {"Generate": forTests},
	"runtime/phone/files": {"NewFS": forTests},
	"runtime/service/coredevice": {
		"Apps.StreamProcesses": served, "Apps.Roots": served, "Info.Gestalt": served,
		"Features": forTests,
	},
	"runtime/service/crashreportcopymobile": {
		"New": forTests,
	},
	"runtime/service/dtsimulatelocation": {
		"Append": served, "Connect": served, "New": served, "Client.SetLocation": served,
		"Client.ClearLocation": served, "Client.send": served, "Client.Close": served,
	},
	"runtime/service/housearrest":        {"Client.Close": forTests},
	"runtime/service/mobileimagemounter": {"Client.Hangup": served},
	"runtime/service/notificationproxy":  {"ConnectInsecure": served},
	"runtime/service/ostracerelay":       {"Stream.Next": forTests},
	"runtime/tunnel/psk":                 {"Config.String": printed, "Config.Format": printed},
	"runtime/tunneld":                    {"List": forTests, "Start": forTests},
	"runtime/usbmux":                     {"appendConnect": forTests},
}

// TestUnreachable finds functions that the program does not reach: they are bound to
// scripts, or deleted, or get a line with a reason in notReached.
func TestUnreachable(t *testing.T) {
	if !*unreachable {
		t.Skip("takes a minute: go test ./runtime -run TestUnreachable -unreachable")
	}
	const format = `{{range .Funcs}}{{println $.Path .Name}}{{end}}`
	cmd := exec.CommandContext(t.Context(), "go", "tool", "deadcode", "-f", format,
		"github.com/imdlua/imdlua/cmd/imdlua")
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		path, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		folder := strings.TrimPrefix(path, "github.com/imdlua/imdlua/")
		found[folder+" "+name] = true
		if notReached[folder][name] == "" {
			t.Errorf("%s: %s is not reached: bind it, delete it, or give a reason in "+
				"runtime/unreachable_test.go", folder, name)
		}
	}
	for folder, names := range notReached {
		for name := range names {
			if !found[folder+" "+name] {
				t.Errorf("%s: %s is reached or gone: delete its line in "+
					"runtime/unreachable_test.go", folder, name)
			}
		}
	}
}
