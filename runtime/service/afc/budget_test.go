package afc

import (
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// endless returns a client of a device whose directories contain directories with these
// names without end, and whose files have no end.
func endless(t *testing.T, names ...string) *Client {
	t.Helper()
	list := strings.Join(names, "\x00") + "\x00"
	piece := strings.Repeat("x", 4<<20)
	return fake(t, func(h header, body string) []string {
		switch h.op {
		case opGetFileInfo:
			kind := "S_IFDIR\x00"
			if strings.HasSuffix(strings.TrimRight(body, "\x00"), "file") {
				kind = "S_IFREG\x00"
			}
			return []string{packet(h.packet, opData, "", "st_size\x004\x00st_ifmt\x00"+kind)}
		case opReadDir:
			return []string{packet(h.packet, opData, "", list)}
		case opOpen:
			return []string{packet(h.packet, opOpenResult, u64(3), "")}
		case opRead:
			asked := int(body[8]) | int(body[9])<<8 | int(body[10])<<16
			return []string{packet(h.packet, opData, "", piece[:asked])}
		case opRemoveAll:
			return []string{packet(h.packet, opStatus, u64(uint64(NotSupported)), "")}
		}
		return []string{ok(h)}
	})
}

// bounded checks that f fails with want and takes at most most bytes of memory. It must
// not run in parallel with other tests.
func bounded(t *testing.T, most uint64, want error, f func() error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	var e *Error
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if !errors.As(err, &e) {
		t.Errorf("%#v is not an *Error", err)
	}
	if len(errText(err)) > 2000 {
		t.Errorf("the text has %d bytes", len(err.Error()))
	}
	if n := after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc); n > most {
		t.Errorf("%d bytes taken, want at most %d", n, most)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestEndlessTrees visits trees that have no end.
func TestEndlessTrees(t *testing.T) {
	nothing := func(string, Info, error) error { return nil }
	for name, c := range map[string]struct {
		names []string
		visit func(c *Client) error
	}{
		"walk": {
			[]string{"d"}, func(c *Client) error { return c.Walk(ctx(t), "/", nothing) },
		},
		"glob": {
			[]string{"d"},
			func(c *Client) error { _, _, err := c.Glob(ctx(t), "/**/x"); return err },
		},
		"remove": {[]string{"d"}, func(c *Client) error { return c.RemoveAll(ctx(t), "/") }},
		"pull":   {[]string{"d"}, func(c *Client) error { return pullAway(t, c, "/") }},
		"wide walk": {wide(1000), func(c *Client) error {
			return c.walk(ctx(t), "/",
				Info{Kind: Directory}, nothing, spent())
		}},
		"wide remove": {
			wide(1000), func(c *Client) error { return c.removeTree(ctx(t), "/", spent()) },
		},
		"million": {
			wide(MaxEntries + 1),
			func(c *Client) error { _, err := c.ReadDir(ctx(t), "/"); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			device := endless(t, c.names...)
			bounded(t, 64<<20, ErrTooLarge, func() error { return c.visit(device) })
			// The connection is still usable.
			if _, err := device.Stat(ctx(t), "/file"); err != nil {
				t.Error(err)
			}
		})
	}
}

func pullAway(t *testing.T, c *Client, remote string) error {
	_, err := c.PullTree(
		ctx(t),
		remote,
		filepath.Join(t.TempDir(), "in"),
		Transfer{growth: 10 << 20},
	)
	return err
}

// wide returns n names.
func wide(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26))
	}
	return names
}

// spent returns a trail that has visited nearly as many entries as allowed.
func spent() *trail { return &trail{entries: MaxEntries - 1500} }

// TestLies uses devices that report wrong sizes.
func TestLies(t *testing.T) {
	info := func(size string) func(h header, body string) []string {
		return func(h header, _ string) []string {
			switch h.op {
			case opOpen:
				return []string{packet(h.packet, opOpenResult, u64(3), "")}
			case opRead:
				return []string{packet(h.packet, opData, "", "")}
			case opTell:
				return []string{packet(h.packet, opTellResult, u64(0), "")}
			case opGetFileInfo:
				return []string{
					packet(h.packet, opData, "", "st_size\x00"+size+"\x00st_ifmt\x00S_IFREG\x00"),
				}
			}
			return []string{ok(h)}
		}
	}
	raw := func(entire uint64, body string) func(h header, _ string) []string {
		return func(h header, _ string) []string {
			a := header{entire: entire, this: headerLen, packet: h.packet, op: opData}
			return []string{string(appendHeader(nil, a)) + body}
		}
	}
	pull := func(c *Client) error {
		_, err := c.Pull(ctx(t), "/file", io.Discard, Transfer{growth: 10 << 20})
		return err
	}
	stat := func(c *Client) error { _, err := c.Stat(ctx(t), "/file"); return err }
	for name, c := range map[string]struct {
		device *Client
		do     func(c *Client) error
		want   error
	}{
		"endless file": {endless(t), pull, ErrTooLarge},
		"endless file in a tree": {
			endless(t), func(c *Client) error { return pullAway(t, c, "/file") }, ErrTooLarge,
		},
		"endless file, as string": {
			endless(t),
			func(c *Client) error {
				_, err := c.ReadFileLimit(ctx(t), "/file",
					10<<20)
				return err
			},
			ErrTooLarge,
		},
		"claims 2^62 bytes": {fake(t, info("4611686018427387904")), pull, ErrTooLarge},
		"stat of 1 MB": {
			fake(t, raw(headerLen+1<<20, strings.Repeat("\x00", 1<<20))), stat, errAnswer,
		},
		"stat of 2^39 bytes": {fake(t, raw(1<<39, "")), stat, errAnswer},
		"stat of 2^60 bytes": {fake(t, raw(1<<60, "")), stat, errLengths},
		"list of 2^39 bytes": {
			fake(t, raw(1<<39, "")),
			func(c *Client) error { _, err := c.ReadDir(ctx(t), "/"); return err }, errAnswer,
		},
		"a read that was not asked": {
			fake(t, func(h header, _ string) []string {
				if h.op == opOpen {
					return []string{packet(h.packet, opOpenResult, u64(3), "")}
				}
				return []string{packet(h.packet, opData, "", strings.Repeat("x", 1<<20))}
			}),
			func(c *Client) error {
				f, err := c.Open(ctx(t), "/file", ModeRead)
				if err == nil {
					_, err = f.Read(ctx(t), make([]byte, 10))
				}
				return err
			},
			errAnswer,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bounded(t, 96<<20, c.want, func() error { return c.do(c.device) })
		})
	}
	c := fake(t, info("-1"))
	if n, err := c.Pull(ctx(t), "/file", io.Discard, Transfer{}); err != nil {
		t.Errorf("Pull of a file of -1 bytes: %v", err)
	} else if n != 0 {
		t.Errorf("Pull of a file of -1 bytes = %v, want 0", n)
	}
}
