package dvt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
)

const fedPID = 212

// feedCase is a stream of this package.
type feedCase struct {
	channel string
	trigger string // message of the host after which the device sends events
	// good sends event i. The function read returns i for it.
	good func(ctx context.Context, ch *dtx.Channel, i int) error
	// end sends the message that ends the stream without an error. It is nil if only
	// the host can end the stream.
	end  func(ctx context.Context, ch *dtx.Channel) error
	open func(ctx context.Context, s *Session) (fed, error)
	// selectors are the selectors of the events; "" stands for an event without one.
	selectors []string
}

// fed is an open stream.
type fed struct {
	read      func(ctx context.Context) (int, error)
	malformed func() uint64
	close     func() error
}

func feedCases() map[string]feedCase {
	return map[string]feedCase{
		"process":       processFeed(),
		"notifications": notificationFeed(),
		"sysmon":        sysmonFeed(),
	}
}

func processFeed() feedCase {
	c := feedCase{channel: ChannelProcessControl, trigger: selObserve}
	c.selectors = []string{eventOutput, eventTerminated}
	c.good = func(ctx context.Context, ch *dtx.Channel, i int) error {
		text := strings.Repeat("x", i)
		return ch.Send(ctx, eventOutput, text, dtx.Int32(fedPID), dtx.Int64(1))
	}
	c.end = func(ctx context.Context, ch *dtx.Channel) error {
		return ch.Send(ctx, eventTerminated, int64(fedPID), int64(7), nil)
	}
	c.open = func(ctx context.Context, s *Session) (fed, error) {
		p, err := s.Start(ctx, "com.example.shop", LaunchOptions{})
		if err != nil {
			return fed{}, err
		}
		read := func(ctx context.Context) (int, error) {
			out, err := p.Next(ctx)
			if err == io.EOF && (p.Exit() == nil || *p.Exit() != Exit{Code: 7}) {
				return 0, errors.New("the exit status is lost")
			}
			return len(out.Text), err
		}
		return fed{read, p.Malformed, p.Close}, nil
	}
	return c
}

func notificationFeed() feedCase {
	c := feedCase{channel: ChannelNotifications, trigger: selMemoryNotes}
	c.selectors = []string{eventMemory, eventApp}
	c.good = func(ctx context.Context, ch *dtx.Channel, i int) error {
		return ch.Send(ctx, eventMemory, nskeyed.Dict{{Key: "code", Value: int64(i)}})
	}
	c.open = func(ctx context.Context, s *Session) (fed, error) {
		n, err := s.Notifications(ctx, NotificationOptions{Memory: true})
		if err != nil {
			return fed{}, err
		}
		read := func(ctx context.Context) (int, error) {
			note, err := n.Next(ctx)
			if err != nil {
				return 0, err
			}
			return note.Level, nil
		}
		return fed{read, n.Malformed, n.Close}, nil
	}
	return c
}

func sysmonFeed() feedCase {
	c := feedCase{channel: ChannelSysmon, trigger: selStart}
	c.selectors = []string{""}
	c.good = func(ctx context.Context, ch *dtx.Channel, i int) error {
		row := nskeyed.Dict{{Key: "CPUCount", Value: int64(i)}}
		return ch.SendObject(ctx, dtx.Data, []any{row})
	}
	c.open = func(ctx context.Context, s *Session) (fed, error) {
		none := SysmonConfig{Processes: []string{}, System: []string{}}
		m, err := s.Sysmon(ctx, none)
		if err != nil {
			return fed{}, err
		}
		read := func(ctx context.Context) (int, error) {
			sample, err := m.Next(ctx)
			if err != nil {
				return 0, err
			}
			return sample.CPUs, nil
		}
		return fed{read, m.Malformed, m.Close}, nil
	}
	return c
}

// badEvent sends an event that no stream can use. The field counted says that the event
// belongs to the stream but cannot be decoded, so that it is counted as malformed.
type badEvent struct {
	send    func(ctx context.Context, ch *dtx.Channel) error
	counted bool
}

var refusal = &nskeyed.NSError{Domain: domainPOSIX, Code: codeEINVAL}

// badCalls returns the forms of a bad event with a selector.
func badCalls(selector string) map[string]badEvent {
	out := map[string]badEvent{}
	for name, args := range map[string][]any{
		"no arguments":  {},
		"nil":           {nil},
		"wrong types":   {[]any{int64(1)}, "x", nskeyed.Dict{}},
		"error":         {refusal},
		"too many":      slices.Repeat([]any{dtx.Int32(1)}, 2000),
		"huge":          {bytes.Repeat([]byte{1}, 1<<20), int64(fedPID)},
		"broken":        {dtx.Buffer([]byte("bplist00 no archive"))},
		"empty archive": {dtx.Buffer([]byte{})},
	} {
		send := func(ctx context.Context, ch *dtx.Channel) error {
			return ch.Send(ctx, selector,
				args...)
		}
		out[name] = badEvent{send, true}
		ask := func(ctx context.Context, ch *dtx.Channel) error {
			_, err := ch.Call(ctx, selector, args...)
			if !errors.Is(err, dtx.ErrUnknownSelector) {
				return err
			}
			return nil
		}
		out[name+", wants an answer"] = badEvent{ask, true}
	}
	return out
}

// badObjects returns the forms of a bad event without a selector.
func badObjects() map[string]badEvent {
	out := map[string]badEvent{}
	processes := nskeyed.Dict{{Key: "Processes", Value: nskeyed.Dict{{Key: int64(1), Value: "x"}}}}
	for name, v := range map[string]any{
		"error":       refusal,
		"wrong types": []any{int64(1), "x", nskeyed.Null{}},
		"process":     []any{processes},
		"huge":        []any{bytes.Repeat([]byte{1}, 1<<20)},
	} {
		send := func(ctx context.Context, ch *dtx.Channel) error {
			return ch.SendObject(ctx,
				dtx.Data, v)
		}
		out[name] = badEvent{send, true}
	}
	for name, b := range map[string][]byte{
		"broken": []byte("bplist00 no archive"), "compressed": {1, 2, 3},
	} {
		kind := dtx.Data
		if name == "compressed" {
			kind = dtx.Compressed
		}
		send := func(ctx context.Context, ch *dtx.Channel) error {
			return ch.SendBytes(ctx, kind,
				b)
		}
		out[name] = badEvent{send, true}
	}
	return out
}

// badForAll returns events that belong to no stream.
func badForAll() map[string]badEvent {
	bytesOf := func(t dtx.Type, b []byte) badEvent {
		return badEvent{
			send: func(ctx context.Context, ch *dtx.Channel) error {
				return ch.SendBytes(ctx, t,
					b)
			},
		}
	}
	return map[string]badEvent{
		"unknown selector": {send: func(ctx context.Context, ch *dtx.Channel) error {
			return ch.Send(ctx, "somethingNew:since:", int64(27), "iOS")
		}},
		"no selector":    bytesOf(dtx.Dispatch, nil),
		"broken payload": bytesOf(dtx.Dispatch, []byte("bplist00")),
		"empty":          bytesOf(dtx.Data, nil),
		"failure":        bytesOf(dtx.Failure, nil),
		"unknown type":   bytesOf(dtx.Type(77), []byte("x")),
		"object": {send: func(ctx context.Context, ch *dtx.Channel) error {
			return ch.SendObject(ctx, dtx.Object, nskeyed.Dict{{Key: "k", Value: int64(0)}})
		}},
	}
}

// TestBadEvents sends a good event, a bad one, a good one and the end on each stream.
// Both good events and the end arrive.
func TestBadEvents(t *testing.T) {
	t.Parallel()
	for name, c := range feedCases() {
		bad := map[string]badEvent{}
		add := func(prefix string, more map[string]badEvent) {
			for shape, e := range more {
				bad[prefix+"/"+shape] = e
			}
		}
		add("any", badForAll())
		for _, selector := range c.selectors {
			if selector == "" {
				add("value", badObjects())
			} else {
				add(selector, badCalls(selector))
			}
		}
		for shape, e := range bad {
			t.Run(name+"/"+shape, func(t *testing.T) {
				t.Parallel()
				c.try(t, e)
			})
		}
	}
}

func (c feedCase) try(t *testing.T, bad badEvent) {
	ctx := t.Context()
	var log bytes.Buffer
	s := feedSession(t, c, bad, slog.New(slog.NewTextHandler(&log, nil)))
	f, err := c.open(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 2; i++ {
		got, err := f.read(ctx)
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if got != i {
			t.Fatalf("event %d = %v, want %v", i, got, i)
		}
	}
	if _, err := f.read(ctx); c.end != nil && err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	} else if err == nil {
		t.Error("a third event came")
	}
	if n := f.malformed(); (n > 0) != bad.counted {
		t.Errorf("%d malformed events, want some: %v", n, bad.counted)
	}
	if err := f.close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	s.Close()
	if told := strings.Contains(log.String(), "malformed event passed over"); told != bad.counted {
		t.Errorf("a warning: %v, want %v:\n%s", told, bad.counted, log.String())
	}
}

// feedSession returns a session with a device that sends the events of a case. A stream
// that only the host can end ends with the channel.
func feedSession(t *testing.T, c feedCase, bad badEvent, log *slog.Logger) *Session {
	t.Helper()
	events := func(ctx context.Context, ch *dtx.Channel) error {
		if err := c.good(ctx, ch, 1); err != nil {
			return err
		}
		if err := bad.send(ctx, ch); err != nil {
			return err
		}
		if err := c.good(ctx, ch, 2); err != nil {
			return err
		}
		if c.end == nil {
			return ch.Close(context.WithoutCancel(ctx)) // ctx ends together with the channel
		}
		return c.end(ctx, ch)
	}
	handler := func(ch *dtx.Channel) dtx.Handler {
		return dtx.HandlerFunc(func(ctx context.Context, in *dtx.Incoming) (any, error) {
			if in.Selector == c.trigger {
				// The answer comes first. The end of the channel would make the call fail.
				if err := in.Reply(ctx, int64(fedPID)); err != nil {
					return nil, err
				}
				ch.Go(func(ctx context.Context) {
					if err := events(ctx, ch); err != nil {
						t.Errorf("device: %v", err)
						_ = ch.Conn().Close() // also ends the read of the host
					}
				})
			}
			return int64(fedPID), nil
		})
	}
	server := dtx.Server{Channels: map[string]func(*dtx.Channel) dtx.Handler{c.channel: handler}}
	return connectTo(t, &server, Options{Logger: log})
}
