package hosttest

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestRun(t *testing.T) {
	t.Parallel()
	res := Run(
		t,
		`print(io.read()) io.stderr:write("e") os.exit(4)`,
		Stdin("in\n"),
		Options(func(o *host.Options) { o.Stdout = nil }),
	)
	if want := "in\n"; res.Stdout != want {
		t.Errorf("stdout = %q, want %q", res.Stdout, want)
	}
	if want := "e"; res.Stderr != want {
		t.Errorf("stderr = %q, want %q", res.Stderr, want)
	}
	if res.Code != 4 {
		t.Errorf("exit code = %d, want 4", res.Code)
	}
	if e := Run(t, "\nerror('x')", Chunk("c.lua")).Error(t); e.Where != "c.lua:2" {
		t.Errorf("where = %q, want c.lua:2", e.Where)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	chunks := split("a\nb\n---\nc --> code: text \\(x\\)\n---\nd\n")
	want := []chunk{
		{at: 1, source: "a\nb\n"},
		{at: 4, source: "c --> code: text \\(x\\)\n", line: 1, code: "code", text: "text \\(x\\)"},
		{at: 6, source: "d\n"},
	}
	if len(chunks) != len(want) {
		t.Fatalf("split() = %+v, want %+v", chunks, want)
	}
	for i, c := range chunks {
		if c != want[i] {
			t.Errorf("chunk %d = %+v, want %+v", i, c, want[i])
		}
	}
}
