package installationproxy

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// TestOddEntries checks that one entry that cannot be decoded does not hide the others.
func TestOddEntries(t *testing.T) {
	t.Parallel()
	const app = "<dict><key>CFBundleIdentifier</key><string>a</string></dict>"
	for _, list := range []string{"<string>odd</string>" + app, app + "<true/>"} {
		ctx, passed := link.WithPassed(t.Context())
		in := "<key>Status</key><string>Complete</string><key>CurrentList</key><array>" + list +
			"</array>"
		apps, err := answer(t, in).Browse(ctx, Options{})
		if err != nil {
			t.Fatalf("Browse of %s: %v", list, err)
		}
		if len(apps) != 1 {
			t.Fatalf("Browse of %s = %v, want the app alone", list, apps)
		}
		if apps[0].BundleID != "a" {
			t.Errorf("Browse of %s = %v, want the app a", list, apps)
		}
		if n, _ := passed.Count(); n != 1 {
			t.Errorf("Browse of %s passed %d entries over, want 1", list, n)
		}
	}
	ctx, passed := link.WithPassed(t.Context())
	in := "<key>LookupResult</key><dict><key>a</key>" + app +
		"<key>b</key><string>odd</string></dict>"
	apps, err := answer(t, in).Lookup(ctx, Options{})
	if err != nil {
		t.Fatalf("Lookup: %v", err)
	}
	if len(apps) != 1 {
		t.Errorf("Lookup = %v, want the app alone", apps)
	}
	if apps["a"].BundleID != "a" {
		t.Errorf("Lookup = %v, want the app a", apps)
	}
	if n, _ := passed.Count(); n != 1 {
		t.Errorf("Lookup passed %d entries over, want 1", n)
	}
}

// TestOddEntriesAcrossPieces has a message with only entries that cannot be decoded.
func TestOddEntriesAcrossPieces(t *testing.T) {
	t.Parallel()
	piece := func(s string) string {
		return browsing + "<key>CurrentList</key><array>" + s + "</array>"
	}
	const app = "<dict><key>CFBundleIdentifier</key><string>a</string></dict>"
	ctx, passed := link.WithPassed(t.Context())
	apps, err := answer(t, piece("<true/>"), piece(app),
		"<key>Status</key><string>Complete</string>").
		Browse(ctx, Options{})
	if err != nil {
		t.Errorf("Browse: %v", err)
	}
	if len(apps) != 1 {
		t.Errorf("Browse = %v, want the app alone", apps)
	}
	if n, _ := passed.Count(); n != 1 {
		t.Errorf("%d entries passed over, want 1", n)
	}
}
