package dtx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
)

const fixtures = "testdata/go-ios/"

// expected is what the JSON file beside a fixture says.
type expected struct {
	Size     int
	Messages []struct {
		Offset       int
		ID, Conv     uint32
		Channel      int32
		ExpectsReply bool   `json:"expects_reply"`
		Type         Type   `json:"type"`
		TypeWord     uint32 `json:"type_word"`
		AuxLen       int    `json:"aux_len"`
		PayloadLen   int    `json:"payload_len"`
		AuxCapacity  uint32 `json:"aux_capacity"`
		Args         []map[string]json.RawMessage
		Selector     string
		Payload      json.RawMessage
	}
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(fixtures + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fixtureNames(t testing.TB) []string {
	t.Helper()
	list, err := filepath.Glob(fixtures + "*.expected.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 9 {
		t.Fatalf("%d fixtures, want 9", len(list))
	}
	for i, p := range list {
		list[i] = strings.TrimSuffix(filepath.Base(p), ".expected.json")
	}
	return list
}

// TestFixtures decodes traffic of Apple's programs and compares every field,
// argument and payload with what was written down about it elsewhere. Encoding
// the messages again must give the same bytes, argument lists included.
func TestFixtures(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture(t, name)
			var want expected
			if err := json.Unmarshal(fixture(t, name+".expected.json"), &want); err != nil {
				t.Fatal(err)
			}
			if len(b) != want.Size {
				t.Fatalf("%d bytes, want %d", len(b), want.Size)
			}
			at := 0
			var again []byte
			for i, w := range want.Messages {
				m, n, err := Decode(b[at:])
				if err != nil {
					t.Fatalf("message %d at %d: %v", i, at, err)
				}
				got := messageHeader{
					at, m.ID, m.Conversation, m.Channel, m.ExpectsReply, m.Type,
					m.TypeFlags | uint32(m.Type), len(m.Aux), len(m.Payload),
				}
				wanted := messageHeader{
					w.Offset, w.ID, w.Conv, w.Channel, w.ExpectsReply, w.Type, w.TypeWord,
					w.AuxLen, w.PayloadLen,
				}
				if got != wanted {
					t.Fatalf("message %d = %+v, want %+v", i, got, wanted)
				}
				checkArgs(t, m, w.AuxCapacity, w.Args)
				checkPayload(t, m, w.Selector, w.Payload)
				again = Append(again, m)
				at += n
			}
			if at != len(b) {
				t.Errorf("%d bytes left over", len(b)-at)
			}
			if !bytes.Equal(again, b) {
				t.Error("encoding the messages again gives other bytes")
			}
		})
	}
}

// messageHeader is what a message holds besides its arguments and its payload.
type messageHeader struct {
	offset       int
	id, conv     uint32
	channel      int32
	expectsReply bool
	kind         Type
	typeWord     uint32
	aux, payload int
}

func checkArgs(t *testing.T, m *Message, capacity uint32, want []map[string]json.RawMessage) {
	t.Helper()
	args, err := DecodeArgs(m.Aux)
	if err != nil {
		t.Fatalf("message %d: %v", m.ID, err)
	}
	if len(args) != len(want) {
		t.Fatalf("message %d: %d arguments, want %d", m.ID, len(args), len(want))
	}
	if again := AppendArgs(nil, args); !bytes.Equal(again, m.Aux) {
		t.Errorf("message %d: AppendArgs = % x, want % x", m.ID, again, m.Aux)
	}
	if len(args) > 0 && binary.LittleEndian.Uint32(m.Aux) != capacity {
		t.Errorf("message %d: capacity %d, want %d", m.ID, binary.LittleEndian.Uint32(m.Aux),
			capacity)
	}
	for i, a := range args {
		kind := map[ArgKind]string{ArgBuffer: "archive", ArgInt32: "int32"}[a.Kind]
		v, err := a.Value(nil)
		if err != nil {
			t.Fatal(err)
		}
		checkValue(t, v, want[i][kind])
	}
}

func checkPayload(t *testing.T, m *Message, selector string, want json.RawMessage) {
	t.Helper()
	if m.Type == Dispatch {
		v, err := nskeyed.Decode(m.Payload)
		if err != nil {
			t.Errorf("message %d: selector: %v", m.ID, err)
		} else if v != selector {
			t.Errorf("message %d: selector %v, want %s", m.ID, v, selector)
		}
		return
	}
	if len(m.Payload) == 0 {
		return
	}
	v, kind, err := nskeyed.Unarchive(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if kind == nskeyed.Raw {
		sum := sha256.Sum256(m.Payload)
		v = rawJSON(fmt.Sprintf(`{"$raw": {"len": %d, "sha256": "%x", "head": "%x"}}`,
			len(m.Payload), sum, m.Payload[:16]))
	}
	checkValue(t, v, want)
}

type rawJSON string

// checkValue compares the JSON text of a value with the one expected, of which
// large ones give the length and the beginning.
func checkValue(t *testing.T, v any, want json.RawMessage) {
	t.Helper()
	var summary struct {
		Summary *struct {
			Chars int `json:"json_chars"`
			Head  string
		} `json:"$summary"`
	}
	got := text(v)
	if json.Unmarshal(want, &summary) == nil && summary.Summary != nil {
		s := summary.Summary
		if len([]rune(got)) != s.Chars {
			t.Errorf("value of %d characters, want %d", len([]rune(got)), s.Chars)
		}
		if !strings.HasPrefix(got, s.Head) {
			t.Errorf("value %.300s, want %s", got, s.Head)
		}
		return
	}
	if got != string(want) {
		t.Errorf("value %s, want %s", got, want)
	}
}

// text writes a value in the notation of the expected files.
func text(v any) string {
	list := func(before string, items []any, after string) string {
		out := make([]string, len(items))
		for i, item := range items {
			out[i] = text(item)
		}
		return before + strings.Join(out, ", ") + after
	}
	switch v := v.(type) {
	case rawJSON:
		return string(v)
	case nil:
		return "null"
	case string:
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(v)
		return strings.TrimSuffix(b.String(), "\n")
	case float64:
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if v != 0 && v < 1e-4 && v > -1e-4 {
			return strconv.FormatFloat(v, 'e', -1, 64)
		}
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	case nskeyed.Date:
		return `{"$date": ` + text(float64(v)) + "}"
	case []byte:
		if len(v) <= 32 {
			return `{"$data": "` + hex.EncodeToString(v) + `"}`
		}
		return fmt.Sprintf(`{"$data_len": %d, "sha256": "%x"}`, len(v), sha256.Sum256(v))
	case nskeyed.UUID:
		return `{"$uuid": "` + strings.ToLower(v.String()) + `"}`
	case []any:
		return list("[", v, "]")
	case nskeyed.Set:
		return list(`{"$set": [`, v, "]}")
	case nskeyed.Null:
		return `{"$NSNull": true}`
	case nskeyed.Dict:
		out := make([]string, len(v))
		for i, p := range v {
			out[i] = text(p.Key) + ": " + text(p.Value)
		}
		return "{" + strings.Join(out, ", ") + "}"
	case *nskeyed.Object:
		s := `{"$class": ` + text(v.Class())
		for _, f := range v.Fields {
			s += ", " + text(f.Key) + ": " + text(f.Value)
		}
		return s + "}"
	}
	return fmt.Sprint(v)
}
