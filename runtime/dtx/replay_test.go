package dtx

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestTestRun replays what a device sent while Xcode ran unit tests. The answers
// must be those that Xcode gave: there is one for each message that asks.
func TestTestRun(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		taken := make(chan string, 100)
		handler := HandlerFunc(func(_ context.Context, in *Incoming) (any, error) {
			if _, err := in.Args(); err != nil {
				t.Error(err)
			}
			taken <- fmt.Sprint(in.code, in.Selector)
			return nil, nil
		})
		a, b := linktest.Pipe()
		c := New(a, Options{Silent: true, Accept: func(ch *Channel) (ChannelOptions, error) {
			if ch.Code() != -1 {
				t.Errorf("channel %d, want -1", ch.Code())
			}
			if got := ch.Identifier(); got != "dtxproxy:XCTestDriverInterface:XCTestManager_IDEInterface" {
				t.Errorf("channel %s", got)
			}
			return ChannelOptions{Handler: handler}, nil
		}})
		defer c.Close()
		if err := c.register(newChannel(c, 1, "dtxproxy"),
			ChannelOptions{Handler: handler}); err != nil {
			t.Fatal(err)
		}
		dump := fixture(t, "conn-in4.dump")
		go b.Write(dump)
		defer b.Close()
		answers := map[string]bool{}
		for _, m := range messages(t, fixture(t, "conn-out4.dump")) {
			if m.Conversation == 1 {
				answers[string(Append(nil, m))] = true
			}
		}
		asked, events := 0, 0
		for _, m := range messages(t, dump) {
			if m.Conversation == 0 && m.Channel != 0 {
				events++
			}
			if m.ExpectsReply {
				asked++
			}
		}
		r := NewReader(b)
		for range asked {
			m, err := r.Read()
			if err != nil {
				t.Fatalf("answer: %v", err)
			}
			if m.Conversation != 1 {
				t.Fatalf("answer of the conversation %d, want 1", m.Conversation)
			}
			if m.Type != Ack {
				t.Fatalf("answer of the type %v, want Ack", m.Type)
			}
			delete(answers, string(Append(nil, m)))
		}
		if len(answers) != 0 {
			t.Errorf("%d answers of Xcode were not given", len(answers))
		}
		if asked < 50 {
			t.Errorf("%d messages ask for an answer, want at least 50", asked)
		}
		synctest.Wait()
		if len(taken) != events {
			t.Errorf("%d messages taken, want %d", len(taken), events)
		}
		caps, err := c.Capabilities(ctx)
		if err != nil {
			t.Errorf("capabilities: %v", err)
		}
		if n, ok := caps.Int(CapabilityCompression); !ok || n != 2 {
			t.Errorf("capabilities %v, want compression 2", caps)
		}

	})
}

// messages returns all messages of a capture.
func messages(t *testing.T, b []byte) (list []*Message) {
	t.Helper()
	for r := NewReader(bytes.NewReader(b)); ; {
		m, err := r.Read()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
}

// TestAudit replays an accessibility audit daemon, which does everything on
// channel 0. Its replies belong to no call here and are dropped.
func TestAudit(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		const name = "accesibility-inspector-dump-from-device-1.bin"
		c, p := peer(t, Options{
			Silent: true, Control: func(*Channel) ChannelOptions { return ChannelOptions{} },
		})
		go p.Write(fixture(t, name))
		var want expected
		if err := json.Unmarshal(fixture(t, name+".expected.json"), &want); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for _, w := range want.Messages {
			if w.Type != Dispatch || w.Selector == selCapabilities {
				continue
			}
			in := mustNext(t, c.Control())
			if in.Selector != w.Selector {
				t.Fatalf("event %s, want %s", in.Selector, w.Selector)
			}
			if in.ID != w.ID {
				t.Fatalf("event %s has the id %d, want %d", w.Selector, in.ID, w.ID)
			}
			taken++
		}
		if taken < 60 {
			t.Errorf("only %d events", taken)
		}
		caps, err := c.Capabilities(ctx)
		if err != nil {
			t.Errorf("capabilities: %v", err)
		}
		if n, _ := caps.Int("com.apple.accessibility.axAuditDaemon.protocolVersion"); n != 157 {
			t.Errorf("capabilities %v, want version 157 of the protocol", caps)
		}
	})
}
