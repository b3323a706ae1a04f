//go:build unix

package virtual_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// processorTime returns the time that the processors have worked for this process.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkKeeper makes tunnels to all devices of a muxer, as tunneld does when it
// starts. It reports the connections to the muxer, the processor time of both sides, and
// the memory that both sides use while the tunnels are up.
func BenchmarkKeeper(b *testing.B) {
	for _, n := range []int{1, 10, 40} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			var made int64
			var used time.Duration
			var memory uint64
			for b.Loop() {
				b.StopTimer()
				c := countingHost(b, n)
				before, empty := processorTime(b), heap()
				b.StartTimer()
				connections, k := keepAll(b, c)
				b.StopTimer()
				made += connections
				used += processorTime(b) - before
				memory += heap() - empty
				k.Close()
				c.Close()
				b.StartTimer()
			}
			per := float64(b.N)
			b.ReportMetric(float64(made)/per, "connections/op")
			b.ReportMetric(float64(used.Microseconds())/1000/per, "cpu-ms/op")
			b.ReportMetric(float64(memory)/per/(1<<20), "heap-MiB/op")
		})
	}
}
