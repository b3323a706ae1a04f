package mobileimagemounter

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// TestOddEntries checks that one entry that cannot be decoded does not hide the others.
func TestOddEntries(t *testing.T) {
	t.Parallel()
	ask := func(answer string, call func(c *Client) (int, error)) {
		n, err := call(New(servicetest.Peer(t, []byte(frame(answer)))))
		if err != nil {
			t.Errorf("%s: %v", answer, err)
		}
		if n != 1 {
			t.Errorf("%s: %d entries, want 1", answer, n)
		}
	}
	ctx, passed := link.WithPassed(t.Context())
	ask("<key>EntryList</key><array><string>odd</string><dict/></array>",
		func(c *Client) (int, error) {
			list, err := c.Images(ctx)
			return len(list), err
		})
	ask("<key>ImageSignature</key><array><data>AA==</data><true/></array>",
		func(c *Client) (int, error) {
			l, err := c.Lookup(ctx, TypeDeveloper)
			if err != nil {
				return 0, err
			}
			return len(l.Signatures), nil
		})
	if n, _ := passed.Count(); n != 2 {
		t.Errorf("%d entries passed over, want 2", n)
	}
}
