package compile_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

var (
	differSeeds = flag.Int("differ.seeds", 2000, "how many random programs of each kind are run")
	differFrom  = flag.Int("differ.from", 1, "the first seed")
	differMost  = flag.Int("differ.most", 3, "how many differences end the test")
)

// batch is the number of programs that one process runs.
const batch = 200

// differModes lists the kinds of random programs. reference is the Lua interpreter that
// prints the expected output.
var differModes = []struct {
	name      string
	reference string
	kit       string // a chunk whose results are the arguments of each program
	program   func(seed uint64) string
}{
	{"statements", "lua5.1", "", program},
	{"library", "lua5.1", libraryKit, libraryProgram},
	{"goto", "luajit", libraryKit, gotoProgram},
}

// TestDiffer compares the output of random programs in the host and in another Lua.
func TestDiffer(t *testing.T) {
	for _, mode := range differModes {
		t.Run(mode.name, func(t *testing.T) {
			lua := installed(t, mode.reference)
			failures := 0
			for from := *differFrom; from < *differFrom+*differSeeds; from += batch {
				count := min(batch, *differFrom+*differSeeds-from)
				var programs []string
				for seed := from; seed < from+count; seed++ {
					programs = append(programs, mode.program(uint64(seed)))
				}
				source := together(mode.kit, programs)
				want := sections(inReference(t, lua, source))
				got := sections(inLibrary(t, source))
				for i, p := range programs {
					if got[i] == want[i] {
						continue
					}
					failures++
					t.Errorf("seed %d: %s\nprogram:\n%s", from+i, firstDifference(got[i], want[i]),
						p)
					if failures == *differMost {
						t.Fatal("too many failures")
					}
				}
			}
		})
	}
}

// firstDifference describes the first difference of two outputs.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d of the output is\n%s\nwant\n%s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("the output has %d lines, want %d", len(g), len(w))
}

const separator = "=== next program\n"

// together joins programs to one chunk, which calls each of them in a pcall.
func together(kit string, programs []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "local kit = { assert(loadstring(%s, '=kit'))() }\n", quote(kit))
	for _, p := range programs {
		fmt.Fprintf(&b, "do local f, problem = loadstring(%s, '=p')\n", quote(p))
		b.WriteString("if f then print(pcall(f, unpack(kit))) else print('syntax') end end\n")
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
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, lua, file)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v: %s", lua, err, errs.String())
	}
	return normalise(out.String())
}

// inLibrary runs a chunk in a host that has Lua's libraries.
func inLibrary(t *testing.T, source string) string {
	t.Helper()
	var out bytes.Buffer
	h := host.New(host.Options{Stdout: &out, MaxInstructions: 50_000_000})
	defer h.Close()
	lua51.Open(h)
	if err := h.Run(context.Background(), "t.lua", source); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	h.Close()
	return normalise(out.String())
}

// normalise replaces the parts of an output that differ on purpose.
func normalise(output string) string {
	for _, d := range differences {
		output = d.pattern.ReplaceAllString(output, d.common)
	}
	return output
}
