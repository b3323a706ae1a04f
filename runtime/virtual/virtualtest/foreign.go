package virtualtest

import (
	"os"
	"testing"
)

// goIOSVariable is the environment variable that has the path of go-ios.
const goIOSVariable = "IMDLUA_GO_IOS"

// GoIOS returns the path of the program ios of go-ios 1.2.0, which another project has
// written. .ci/run downloads it and sets the environment variable IMDLUA_GO_IOS. Without
// the variable a test is skipped on a user's machine, and fails in CI.
func GoIOS(t testing.TB) string {
	t.Helper()
	path := os.Getenv(goIOSVariable)
	if path == "" {
		Lack(t, goIOSVariable+" is not set; it has the path of the program ios of go-ios 1.2.0, "+
			"as .ci/run downloads it")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: %v", goIOSVariable, err)
	}
	return path
}

// Lack ends a test that this machine cannot run. In CI the test fails, otherwise it is
// skipped.
func Lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
