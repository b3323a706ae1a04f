package remotepair

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
)

var phoneOptions = phone.Options{}

func BenchmarkPairSetup(b *testing.B) {
	r := newRig(b, phoneOptions)
	b.ReportAllocs()
	for b.Loop() {
		c := r.connect(Options{})
		if _, err := c.Pair(b.Context()); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkPairVerify(b *testing.B) {
	r := newRig(b, phoneOptions)
	rec := r.pair()
	b.ReportAllocs()
	for b.Loop() {
		c := r.connect(Options{Record: rec})
		if err := c.Verify(b.Context()); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkChannel measures a request and its answer.
func BenchmarkChannel(b *testing.B) {
	for name, pipe := range map[string]func() (host, device Transport){
		"RPPairing": streamPipe, "XPC": xpcPipe,
	} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, phoneOptions)
			r.pipe = pipe
			r.pair()
			c := r.connect(Options{})
			if err := c.Verify(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Call(b.Context(), nameUnlockKey, plist.Dict{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
