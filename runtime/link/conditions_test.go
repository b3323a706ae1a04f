package link

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestConditions sends a megabyte in writes of many sizes. All of it must arrive in
// order, and not before its time.
func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		Conditions
		takes time.Duration
	}{
		"none":    {},
		"split":   {Conditions{Split: true}, 0},
		"latency": {Conditions{Latency: 20 * time.Millisecond}, 20 * time.Millisecond},
		"rate":    {Conditions{Rate: 1 << 20, Split: true}, time.Second},
		"both": {
			Conditions{Rate: 1 << 20, Latency: 50 * time.Millisecond}, 1050 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := c.Pipe()
				defer b.Close()
				want := make([]byte, 1<<20)
				r := rand.NewChaCha8([32]byte{1})
				r.Read(want)
				begun := time.Now()
				go func() {
					defer a.Close()
					for rest := want; len(rest) > 0; {
						n := min(len(rest), 1+int(r.Uint64()%100_000))
						if _, err := a.Write(rest[:n]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
					}
				}()
				got, err := io.ReadAll(b)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Error("other bytes arrived")
				}
				// The synthetic time advances only while all goroutines wait.
				took := time.Since(begun).Round(time.Millisecond)
				if c.Latency == 0 || c.Rate > 0 {
					if took != c.takes {
						t.Errorf("it took %v, want %v", took, c.takes)
					}
				} else if took < c.takes {
					t.Errorf("it took %v, want %v at least", took, c.takes)
				}
			})
		})
	}
}

// TestSplit checks that bytes that were written at once are read in several pieces.
func TestSplit(t *testing.T) {
	a, b := Conditions{Split: true}.Pipe()
	defer a.Close()
	defer b.Close()
	message := make([]byte, 100_000)
	if _, err := a.Write(message); err != nil {
		t.Fatal(err)
	}
	reads := 0
	for rest := len(message); rest > 0; reads++ {
		n, err := b.Read(make([]byte, rest))
		if err != nil {
			t.Fatal(err)
		}
		rest -= n
	}
	if reads < 2 {
		t.Error("the message came in one piece")
	}
}
