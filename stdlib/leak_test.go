package stdlib_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// descriptors returns the targets of the open file descriptors of this process, by number.
func descriptors(t *testing.T) map[string]string {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not list open files")
	}
	out := map[string]string{}
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			out[e.Name()] = to
		}
	}
	return out
}

// settles waits until ok returns true, for goroutines that are about to end.
func settles(ok func() bool) bool {
	for end := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// stacksOf counts the goroutines that are in a package.
func stacksOf(pkg string) int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Count(string(buf), "imdlua/"+pkg+".")
}
