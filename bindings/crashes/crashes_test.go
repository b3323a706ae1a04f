package crashes_test

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/hosttest/devicetest"
)

// TestCrashes lists and clears reports. A report that the device has not moved yet is
// listed as well.
func TestCrashes(t *testing.T) {
	t.Parallel()
	got := devicetest.Run(t, `
local iter = require "imd.iter"
local dev = device()
local all = dev.crashes:list()
assert(#all > 1 and #all.skipped == 0)
for i, r in ipairs(all) do
  assert(dev.crash_files:stat(r.path).size == r.size, r.path)
  assert(i == 1 or all[i - 1].time <= r.time, r.path)
end
local named = iter.from(all):find(function(r) return r.process ~= "" end)
local some = dev.crashes:list{ process = named.process }
assert(#some > 0)
for _, r in ipairs(some) do assert(r.process == named.process) end
print(#dev.crashes:list{ process = "no such process" })
dev.crashes:clear()
print(#dev.crashes:list())`, devicetest.Options{})
	if want := "0\n0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
