package files

import (
	"path/filepath"
	"testing"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder, file := dir+string(filepath.Separator), filepath.Join(dir, "new")
	tests := []struct {
		goos, remote string
		local        *string
		want         string
		chosen       bool
	}{
		{"linux", "/DCIM/a.jpg", nil, "a.jpg", true},
		{"linux", "/DCIM/a.jpg", &folder, filepath.Join(dir, "a.jpg"), true},
		{"linux", "/DCIM/a.jpg", &dir, dir, false},
		{"linux", "/DCIM/a.jpg", &file, file, false},
		{"linux", "10:30.m4a", &folder, filepath.Join(dir, "10:30.m4a"), true},
		{"windows", "Recordings/10:30.m4a", nil, "10_30.m4a", true},
		{"windows", "Recordings/10:30.m4a", &folder, filepath.Join(dir, "10_30.m4a"), true},
		{"windows", "Recordings/10:30.m4a", &file, file, false},
		{"windows", `x/..\..\evil`, &folder, filepath.Join(dir, ".._.._evil"), true},
		{"windows", "aux.txt", nil, "aux_.txt", true},
		{"linux", "..", &folder, dir, true},
		{"linux", "/", &folder, dir, true},
		{"linux", "/", nil, ".", true},
	}
	for _, tt := range tests {
		to, chosen := target(tt.goos, tt.remote, tt.local)
		if to != tt.want {
			t.Errorf("target(%s, %q) = %q, want %q", tt.goos, tt.remote, to, tt.want)
		}
		if chosen != tt.chosen {
			t.Errorf("target(%s, %q): chosen = %v, want %v", tt.goos, tt.remote, chosen, tt.chosen)
		}
	}
}
