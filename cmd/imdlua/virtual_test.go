package main

import "testing"

// TestVirtualDeveloper has the flags that take away what developer services
// need.
func TestVirtualDeveloper(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, "true\t1\n"},
		{[]string{"--no-image"}, "true\t0\n"},
		{[]string{"--no-developer-mode"}, "false\t1\n"},
		{[]string{"--no-image", "--no-developer-mode", "--profile", "ios17.2"}, "false\t0\n"},
	} {
		address, _ := serve(t, c.flags...)
		out, _ := newProgram(t, "--usbmux", address, "-e",
			"local dev = device() print(dev:developer_mode(), #dev:ddi())").check(t, 0)
		if out != c.want {
			t.Errorf("%v: a script says %q, want %q", c.flags, out, c.want)
		}
	}
}
