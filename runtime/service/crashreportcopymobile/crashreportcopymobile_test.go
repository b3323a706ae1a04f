package crashreportcopymobile

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		p := phonetest.New(tb, phone.Options{})
		return &Device{Env: service.Env{Phone: p}}
	},
	Calls: servicetest.Calls[*Client]{
		"reports": func(c *Client, ctx context.Context) error {
			_, _, err := Reports(ctx, c)
			return err
		},
		"clear": func(c *Client, ctx context.Context) error { return Clear(ctx, c) },
	},
	Typed: fuzztest.Typed[*afc.Error],
}

func TestService(t *testing.T) { suite.Test(t) }

func connect(t *testing.T, h service.Handler) (*Client, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c, err := Connect(ctx, servicetest.Opener{TB: t, Name: Service, Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, ctx
}

func TestReports(t *testing.T) {
	t.Parallel()
	p, err := phone.New(phone.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const name = "/Retired/My App-2024-01-01-120000.ips"
	if err := p.Crashes.Files.WriteFile(name, []byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	c, ctx := connect(t, NewDevice(service.Env{Phone: p}))
	list, skipped, err := Reports(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(skipped) > 0 {
		t.Errorf("skipped %v", skipped)
	}
	i := slices.IndexFunc(list, func(r Report) bool { return r.Path == name })
	if i < 0 {
		t.Fatalf("Reports = %+v, want %s in it", list, name)
	}
	if list[i].Process != "My App" {
		t.Errorf("the process is %q, want My App", list[i].Process)
	}
	if list[i].Size != 3 {
		t.Errorf("the size is %d, want 3", list[i].Size)
	}
	if list[i].Time.IsZero() {
		t.Errorf("the report %+v has no time", list[i])
	}
	if !slices.IsSortedFunc(list,
		func(a, b Report) int { return strings.Compare(a.Path, b.Path) }) {
		t.Errorf("not sorted: %+v", list)
	}
	for _, r := range list {
		b, err := c.ReadFile(ctx, r.Path)
		if err != nil {
			t.Errorf("%s: %v", r.Path, err)
			continue
		}
		if int64(len(b)) != r.Size {
			t.Errorf("%s: %d bytes, want %d", r.Path, len(b), r.Size)
		}
	}
	if err := Clear(ctx, c); err != nil {
		t.Fatal(err)
	}
	list, _, err = Reports(ctx, c)
	if err != nil {
		t.Errorf("Reports after Clear: %v", err)
	}
	if len(list) != 0 {
		t.Errorf("Reports after Clear = %+v", list)
	}
	if _, err := c.Stat(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
}

func TestProcessOf(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"/SpringBoard-2024-01-01-120000.ips":        "SpringBoard",
		"/Retired/My-App-2024-01-01-120000.000.ips": "My-App",
		"JetsamEvent-2023-11-05-010203.ips.synced":  "JetsamEvent",
		"panic-full-2023-11-05-010203.0002.ips":     "panic-full",
		"x-2023-11-05-010203-2.ips":                 "x",
		"x-2023-13-05-010203.ips":                   "",
		"x-2023-11-05-0102034.ips":                  "",
		"-2023-11-05-010203.ips":                    "",
		"":                                          "",
		"/DiagnosticLogs/security.log":              "",
		"stacks-2024-01-01-2023-11-05-010203.ips":   "stacks-2024-01-01",
	} {
		if got := processOf(file); got != want {
			t.Errorf("processOf(%q) = %q, want %q", file, got, want)
		}
	}
}

// TestClearKeeps checks that Clear ignores the refusal to remove one known directory,
// and returns any other failure.
func TestClearKeeps(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{"com.apple.appstored": true, "com.apple.other": false} {
		f := files.NewFS(nil, 1<<20)
		if err := f.Mkdir("/Documents/" + name); err != nil {
			t.Fatal(err)
		}
		c, ctx := connect(t, &afc.Device{FS: f, Within: "/Documents"})
		// A real device refuses to remove the name. Here the confinement to a directory
		// causes the refusal.
		if err := clearNames(ctx, c, []string{name}); (err == nil) != kept {
			t.Errorf("%s: %v", name, err)
		}
	}
}
