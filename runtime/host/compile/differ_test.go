package compile_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var (
	differSeeds = flag.Int(
		"differ.seeds",
		2000,
		"how many random programs are compared with lua5.1",
	)
	differFrom = flag.Int("differ.from", 1, "the first seed")
)

// batch is how many programs one process runs.
const batch = 200

// TestDiffer compares random programs in the host with lua5.1.
func TestDiffer(t *testing.T) {
	lua := reference(t)
	failures := 0
	for from := *differFrom; from < *differFrom+*differSeeds; from += batch {
		count := min(batch, *differFrom+*differSeeds-from)
		var programs []string
		for seed := from; seed < from+count; seed++ {
			programs = append(programs, program(uint64(seed)))
		}
		source := together(programs)
		want := sections(inReference(t, lua, source))
		got := sections(inHost(t, source))
		for i, p := range programs {
			if got[i] == want[i] {
				continue
			}
			failures++
			t.Errorf("seed %d: the host prints\n%s\nlua5.1 prints\n%s\nprogram:\n%s",
				from+i, got[i], want[i], p)
			if failures == 3 {
				t.Fatal("too many failures")
			}
		}
	}
}

const separator = "=== next program\n"

// together makes one chunk of programs, each in a pcall of its own.
func together(programs []string) string {
	var b strings.Builder
	for _, p := range programs {
		fmt.Fprintf(&b, "print((pcall(assert(loadstring(%s)))))\n", quote(p))
		fmt.Fprintf(&b, "print(%q)\n", strings.TrimSpace(separator))
	}
	return b.String()
}

func quote(s string) string { return "[====[\n" + s + "]====]" }

func sections(output string) []string {
	return append(strings.Split(output, separator), make([]string, batch)...)
}

func inReference(t *testing.T, lua, source string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "programs.lua")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(lua, file)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("lua5.1: %v: %s", err, errs.String())
	}
	return normalise(out.String())
}

// normalise removes what differs on purpose from the output of lua5.1. The
// programs avoid the rest: the order of pairs, and numbers from 1e15 on.
func normalise(output string) string {
	return strings.ReplaceAll(output, "-nan", "nan")
}
