package dvt

import (
	"context"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
)

// TestOddEntries checks that one entry that cannot be decoded does not hide the others
// of a list.
func TestOddEntries(t *testing.T) {
	t.Parallel()
	dict := func(key string, v any) nskeyed.Dict { return nskeyed.Dict{{Key: key, Value: v}} }
	for _, test := range []struct {
		name   string
		answer any
		count  func(ctx context.Context, s *Session) (int, error)
	}{
		{"process of another type", []any{int64(1), dict("pid", int64(7))}, countProcesses},
		{"process without an id", []any{dict("pid", "x"), dict("pid", int64(7))}, countProcesses},
		{"process with a large id", []any{dict("pid", int64(7)), dict("pid", int64(1)<<40)},
			countProcesses},
		{"application", []any{"odd", dict("CFBundleIdentifier", "a")}, countApplications},
		{"condition of another type", []any{dict("identifier", "a"), int64(1)}, countConditions},
		{"condition without a name", []any{dict("identifier", "a"), dict("identifier", "")},
			countConditions},
		{"level of a condition", []any{nskeyed.Dict{
			{Key: "identifier", Value: "a"},
			{Key: "profiles", Value: []any{int64(3), dict("identifier", "b")}},
		}}, func(ctx context.Context, s *Session) (int, error) {
			list, err := s.Conditions(ctx)
			if err != nil || len(list) != 1 {
				return len(list), err
			}
			return len(list[0].Profiles), nil
		}},
		{"file", []any{"a", int64(1)}, func(ctx context.Context, s *Session) (int, error) {
			list, err := s.ListDirectory(ctx, "/")
			return len(list), err
		}},
		{"attribute", []any{int64(1), "pid"}, func(ctx context.Context, s *Session) (int, error) {
			list, err := s.ProcessAttributes(ctx)
			return len(list), err
		}},
		{"interface", nskeyed.Dict{{Key: "en0", Value: "Wi-Fi"}, {Key: "en1", Value: int64(1)}},
			func(ctx context.Context, s *Session) (int, error) {
				list, err := s.NetworkInformation(ctx)
				return len(list), err
			}},
	} {
		h := answer(test.answer)
		s := fake(t, map[string]dtx.Handler{
			ChannelDeviceInfo: h, ChannelApplications: h, ChannelConditions: h,
		})
		ctx, passed := link.WithPassed(t.Context())
		n, err := test.count(ctx, s)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if n != 1 {
			t.Errorf("%s: %d entries, want 1", test.name, n)
		}
		if n, _ := passed.Count(); n != 1 {
			t.Errorf("%s: %d entries passed over, want 1", test.name, n)
		}
	}
}

func countProcesses(ctx context.Context, s *Session) (int, error) {
	list, err := s.Processes(ctx)
	return len(list), err
}

func countApplications(ctx context.Context, s *Session) (int, error) {
	list, err := s.Applications(ctx, nil)
	return len(list), err
}

func countConditions(ctx context.Context, s *Session) (int, error) {
	list, err := s.Conditions(ctx)
	return len(list), err
}
