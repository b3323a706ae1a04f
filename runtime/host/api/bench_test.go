package api_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// benchmark runs body b.N times in one Lua loop.
func benchmark(b *testing.B, setup, body string) {
	b.Helper()
	h := host.New(host.Options{})
	b.Cleanup(func() { h.Close() })
	if err := api.Install(h, testModule()); err != nil {
		b.Fatal(err)
	}
	source := fmt.Sprintf("%s\nfor i = 1, %d do %s end", setup, b.N, body)
	b.ReportAllocs()
	b.ResetTimer()
	if err := h.Run(context.Background(), "bench.lua", source); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkEmptyLoop(b *testing.B) { benchmark(b, "", "local x = i") }

func BenchmarkMethod(b *testing.B) {
	benchmark(b, `local dev = lab.phone("x")`, `dev:launch("com.x")`)
}

func BenchmarkMethodWithOptions(b *testing.B) {
	benchmark(
		b,
		`local dev = lab.phone("x")`,
		`dev:launch("com.x", { kill = true, mode = "cold" })`,
	)
}

// BenchmarkMethodAlone and BenchmarkMethodAloneWithOptions call a function that
// does nothing, with a table of options that was made before.
func BenchmarkMethodAlone(b *testing.B) {
	benchmark(b, `local dev = lab.phone("x")`, `dev:nothing("com.x")`)
}

func BenchmarkMethodAloneWithOptions(b *testing.B) {
	benchmark(
		b,
		`local dev = lab.phone("x") local o = { kill = true, mode = "cold" }`,
		`dev:nothing("com.x", o)`,
	)
}

// BenchmarkOptionsTable only makes a table of options, without a call.
func BenchmarkOptionsTable(b *testing.B) {
	benchmark(b, "", `local o = { kill = true, mode = "cold" }`)
}

func BenchmarkRawMethod(b *testing.B) {
	benchmark(b, `local dev = lab.phone("x")`, `dev:raw(1)`)
}

func BenchmarkFunction(b *testing.B) { benchmark(b, "", `lab.i8(1)`) }

func BenchmarkField(b *testing.B) {
	benchmark(b, `local dev = lab.phone("x")`, `local n = dev.name`)
}

func BenchmarkRecordField(b *testing.B) {
	benchmark(b, `local app = lab.phone("x"):app("a")`, `local n = app.bundle_id`)
}

func BenchmarkRecordCreation(b *testing.B) {
	h := host.New(host.Options{})
	b.Cleanup(func() { h.Close() })
	if err := api.Install(h, testModule()); err != nil {
		b.Fatal(err)
	}
	ix, app := api.Registry(h), testApp("a")
	b.ReportAllocs()
	for b.Loop() {
		ix.Wrap(h.L(), app)
	}
}

// BenchmarkInstall installs 30 modules with 300 functions.
func BenchmarkInstall(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		h := host.New(host.Options{})
		var mods []*api.Module
		for i := range 30 {
			m := &api.Module{Name: fmt.Sprintf("m%d", i), Global: true}
			for j := range 10 {
				m.Funcs = append(
					m.Funcs,
					api.Function(
						fmt.Sprintf("f%d", j),
						"Text.",
						"a opts?",
						func(*api.Call, string, launchOptions) {},
					),
				)
			}
			mods = append(mods, m)
		}
		b.StartTimer()
		if err := api.Install(h, mods...); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		h.Close()
		b.StartTimer()
	}
}
