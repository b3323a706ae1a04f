package afc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestPullNames checks the local names of a tree for each operating system.
func TestPullNames(t *testing.T) {
	t.Parallel()
	names := []string{"A.txt", "a.txt", "b:c", `..\evil`, "CON", "end.", "d:+"}
	tests := []struct {
		goos    string
		want    []string
		renamed []Renamed
	}{
		{"linux", names, nil},
		{
			"darwin", []string{"A.txt", "a~2.txt", "b:c", `..\evil`, "CON", "end.", "d:+"},
			[]Renamed{{"/a.txt", "a~2.txt"}},
		},
		{
			"windows", []string{"A.txt", "a~2.txt", "b_c", ".._evil", "CON_", "end_", "d_+"},
			[]Renamed{
				{`/..\evil`, ".._evil"}, {"/CON", "CON_"}, {"/a.txt", "a~2.txt"}, {"/b:c", "b_c"},
				{"/d:+", "d_+"}, {"/end.", "end_"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.goos, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree, err := odd(
				t,
				nil,
				nil,
				names...).PullTree(ctx(t), "/", dir, Transfer{goos: tt.goos})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			entries, err := os.ReadDir(dir)
			must(t, err)
			for _, e := range entries {
				got = append(got, e.Name())
			}
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("written %q, want %q", got, tt.want)
			}
			if !slices.Equal(tree.Renamed, tt.renamed) {
				t.Errorf("renamed %q, want %q", tree.Renamed, tt.renamed)
			}
		})
	}
}

// TestPullKeeps checks that an existing file keeps its permissions, and that it keeps
// its content if the pull fails.
func TestPullKeeps(t *testing.T) {
	t.Parallel()
	f := tree(t)
	local := filepath.Join(t.TempDir(), "b.txt")
	must(t, os.WriteFile(local, []byte("before"), 0o600))
	must(t, os.Chmod(local, 0o640))
	c := fake(t, func(h header, _ string) []string {
		switch h.op {
		case opGetFileInfo:
			return []string{packet(h.packet, opData, "", "st_size\x009\x00st_ifmt\x00S_IFREG\x00")}
		case opOpen:
			return []string{packet(h.packet, opOpenResult, u64(3), "")}
		case opRead:
			return []string{packet(h.packet, opStatus, u64(uint64(IOError)), "")}
		}
		return []string{ok(h)}
	})
	if _, err := c.PullTree(ctx(t), "/DCIM/b.txt", local, Transfer{}); !errors.Is(err, IOError) {
		t.Errorf("PullTree: %v, want %v", err, IOError)
	}
	wantFile(t, os.ReadFile, local, "before")
	if _, err := pair(t, f).PullTree(ctx(t), "/DCIM/b.txt", local, Transfer{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(local)
	must(t, err)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("permissions %v, want 0640", info.Mode().Perm())
	}
	if info.Size() != 10 {
		t.Errorf("%d bytes, want 10", info.Size())
	}
	if left := snapshot(t, filepath.Dir(local)); len(left) != 2 {
		t.Errorf("left %q", left)
	}
}
