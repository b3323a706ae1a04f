package phone

import (
	"bytes"
	"encoding/json"
	"errors"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// every calls fn for all paths of a tree that may be listed.
func every(t *testing.T, f *files.FS, dir string, fn func(string, files.Info)) {
	t.Helper()
	names, err := f.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		p := path.Join(dir, name)
		i, err := f.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		fn(p, i)
		if i.Kind == files.Directory {
			every(t, f, p, fn)
		}
	}
}

func TestMediaTree(t *testing.T) {
	t.Parallel()
	f := newPhone(t, Options{}).Media()
	root, err := f.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"DCIM", "Downloads", "Books", "iTunes_Control", "PhotoData", "PublicStaging", "Recordings",
		"Purchases", "MediaAnalysis", "AirFair", "Airlock",
	} {
		if !slices.Contains(root, want) {
			t.Errorf("no %s among %v", want, root)
		}
	}
	kinds := map[string]int{}
	every(t, f, "/", func(p string, i files.Info) {
		if i.Kind != files.Regular {
			return
		}
		kinds[path.Ext(p)]++
		b, err := f.ReadFile(p)
		if err != nil || int64(len(b)) != i.Size {
			t.Errorf("%s: %d bytes of %d, %v", p, len(b), i.Size, err)
			return
		}
		switch path.Ext(p) {
		case ".JPG":
			m, err := jpeg.Decode(bytes.NewReader(b))
			if err != nil || m.Bounds().Dx() != 320 {
				t.Errorf("%s is not a JPEG: %v", p, err)
			}
		case ".PNG":
			if _, err := png.Decode(bytes.NewReader(b)); err != nil {
				t.Errorf("%s is not a PNG: %v", p, err)
			}
		case ".HEIC", ".MOV", ".m4a":
			if string(b[4:8]) != "ftyp" {
				t.Errorf("%s begins with %q", p, b[:16])
			}
		case ".plist":
			if _, err := plist.DecodeDict(b); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
	if kinds[".JPG"] < 10 || kinds[".HEIC"] == 0 || kinds[".MOV"] == 0 {
		t.Errorf("kinds of files: %v", kinds)
	}
	if i, err := f.Stat("DCIM/101APPLE/IMG_1001.MOV"); err != nil || i.Size != 40<<20 {
		t.Errorf("the film: %+v, %v", i, err)
	}
}

// TestDeniedDirectory: some directories answer lstat and nothing else.
func TestDeniedDirectory(t *testing.T) {
	t.Parallel()
	f := newPhone(t, Options{}).Media()
	if i, err := f.Stat("PhotoData/UBF"); err != nil || i.Kind != files.Directory {
		t.Errorf("Stat = %+v, %v", i, err)
	}
	for name, err := range map[string]error{
		"list":   second(f.ReadDir("PhotoData/UBF")),
		"stat":   second(f.Stat("PhotoData/UBF/x")),
		"open":   second(f.Open("PhotoData/UBF/x", os.O_RDWR|os.O_CREATE)),
		"remove": f.RemoveAll("PhotoData/UBF"),
		"rename": f.Rename("PhotoData/UBF", "x"),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want fs.ErrPermission", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestPhonesShareContents: the same picture, but changes stay with a phone.
func TestPhonesShareContents(t *testing.T) {
	t.Parallel()
	const name = "DCIM/100APPLE/IMG_0001.JPG"
	a, b := newPhone(t, Options{}).Media(), newPhone(t, Options{Serial: 1}).Media()
	before, err := b.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	h, err := a.Open(name, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt([]byte("changed"), 3); err != nil {
		t.Fatal(err)
	}
	after, _ := b.ReadFile(name)
	mine, _ := a.ReadFile(name)
	if !bytes.Equal(before, after) || bytes.Equal(mine, after) || len(mine) != len(after) {
		t.Error("a write on one phone shows on the other, or not at all")
	}
}

var reportName = regexp.MustCompile(`^[A-Za-z.-]+-\d{4}-\d\d-\d\d-\d{6}(-\d{3})?\.ips$`)

// checkReport holds the form of an .ips file and returns header and body.
func checkReport(t *testing.T, p *Phone, name string, b []byte) (head, body map[string]any) {
	t.Helper()
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || json.Unmarshal(line, &head) != nil || json.Unmarshal(rest, &body) != nil {
		t.Fatalf("%s is not a line of JSON and a body of JSON", name)
	}
	if !reportName.MatchString(path.Base(name)) {
		t.Errorf("odd name %s", name)
	}
	os, _ := head["os_version"].(string)
	if !strings.HasPrefix(os, "iPhone OS "+p.ProductVersion()+" (") ||
		head["incident_id"] != body["incident"] || head["bug_type"] != body["bug_type"] {
		t.Errorf("%s: header %v", name, head)
	}
	stamp, _ := head["timestamp"].(string)
	if day := strings.ReplaceAll(stamp[:19], ":", ""); !strings.Contains(name,
		strings.Replace(day, " ", "-", 1)) {
		t.Errorf("%s has the timestamp %s", name, stamp)
	}
	return head, body
}

func TestCrashTree(t *testing.T) {
	t.Parallel()
	eachProfile(t, func(t *testing.T, p *Phone) {
		bugs, dirs := map[any]int{}, map[string]int{}
		every(t, p.CrashReports(), "/", func(name string, i files.Info) {
			if i.Kind == files.Directory {
				dirs[name] += 0
				return
			}
			dirs[path.Dir(name)]++
			if path.Ext(name) != ".ips" {
				return
			}
			b, err := p.CrashReports().ReadFile(name)
			if err != nil || int64(len(b)) != i.Size {
				t.Fatalf("%s: %d bytes of %d, %v", name, len(b), i.Size, err)
			}
			head, _ := checkReport(t, p, name, b)
			bugs[head["bug_type"]]++
		})
		if bugs[bugCrash] < 6 || bugs[bugJetsam] == 0 || bugs[bugPanic] == 0 ||
			bugs[bugStack] == 0 {
			t.Errorf("reports by type: %v", bugs)
		}
		if dirs["/"] < 6 || dirs["/Retired"] == 0 || dirs["/Panics"] == 0 ||
			dirs["/DiagnosticLogs"] == 0 {
			t.Errorf("files by directory: %v", dirs)
		}
	})
}

func TestCrash(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	proc, err := p.Launch("com.example.shop")
	if err != nil {
		t.Fatal(err)
	}
	file, err := p.Crash(proc.PID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.CrashReports().ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body := checkReport(t, p, file, b)
	if head["bundleID"] != "com.example.shop" || head["app_version"] != "4.0" ||
		body["pid"] != float64(proc.PID) || head["is_first_party"] != 0.0 {
		t.Errorf("header %v, pid %v", head, body["pid"])
	}
	if _, ok := p.RunningApp("com.example.shop"); ok {
		t.Error("the app still runs")
	}
	log := p.LogHistory()
	last := log[len(log)-1]
	if path.Base(
		last.ProcessPath,
	) != "osanalyticshelper" || path.Base(last.ImagePath) != "OSAnalytics" ||
		!strings.HasPrefix(last.Message, "Saved type ") ||
		!strings.HasSuffix(last.Message, "/"+file) {
		t.Errorf("log says %+v", last)
	}
	again, _ := p.Launch("com.example.shop")
	p2, err := p.Crash(again.PID)
	if err != nil || p2 == file {
		t.Errorf("second crash: %q, %v", p2, err)
	}
	for pid, want := range map[int]error{
		0: fs.ErrPermission, 1: fs.ErrPermission, 99_999: fs.ErrNotExist,
	} {
		if _, err := p.Crash(pid); !errors.Is(err, want) {
			t.Errorf("Crash(%d) = %v, want %v", pid, err, want)
		}
	}
}

func BenchmarkStat(b *testing.B) {
	p := newPhone(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Media().Stat("/DCIM/101APPLE/IMG_1001.MOV"); err != nil {
			b.Fatal(err)
		}
	}
}
