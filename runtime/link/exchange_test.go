package link

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// TestEndlessAnswer uses a device that never stops answering.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	c, d := Pipe()
	e := NewExchange(c, 64<<20, 10*time.Minute)
	defer e.Close()
	peer := NewPlistConn(d)
	go func() {
		defer d.Close()
		page := plist.Dict{"page": make([]byte, 8<<20)}
		body, _ := plist.Encode(page, plist.Binary)
		_, _ = peer.RecvDict(context.Background())
		for {
			if _, err := d.Write(AppendFrame(nil, body)); err != nil {
				return
			}
		}
	}()
	pages := 0
	err := e.Each(
		t.Context(),
		plist.Dict{},
		func(plist.Dict) (bool, error) { pages++; return false, nil },
	)
	var large *AnswerError
	if !errors.As(err, &large) {
		t.Errorf("the error is %v, want an AnswerError", err)
	}
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("the error is %v, want %v", err, ErrTooLarge)
	}
	if pages > maxAnswer/(8<<20) {
		t.Errorf("%d pages were read, want at most %d", pages, maxAnswer/(8<<20))
	}
}
