package lockdown

import (
	"context"
	"testing"
)

func BenchmarkGetValue(b *testing.B) {
	p, h, _ := paired(b)
	for _, x := range []struct {
		name      string
		cl        *Client
		dom, key  string
		wholeDict bool
	}{
		{"plain", dial(b, never(p)), "", "ProductVersion", false},
		{"session", session(b, never(p), h.id), "", "ProductVersion", false},
		{"session/all", session(b, never(p), h.id), "", "", true},
	} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.cl.Get(context.Background(), x.dom, x.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSession opens a connection, starts a session and ends it.
func BenchmarkSession(b *testing.B) {
	p, h, _ := paired(b)
	b.ReportAllocs()
	for b.Loop() {
		c, end := serve(b, never(p))
		cl := New(c, Options{})
		if err := cl.StartSession(context.Background(), h.id); err != nil {
			b.Fatal(err)
		}
		if err := end(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStartService starts one service in a session.
func BenchmarkStartService(b *testing.B) {
	p, h, _ := paired(b)
	cl := session(b, never(p), h.id)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cl.StartService(context.Background(), "com.apple.afc", nil); err != nil {
			b.Fatal(err)
		}
	}
}
