// Package interop holds only tests. They run programs of other projects against
// this project:
//
//	libimobiledevice's tools, ideviceinstaller, ifuse, iproxy -> virtual device
//	go-ios                                                    -> virtual device
//	this repository's usbmux client                           -> the real usbmuxd
//
// The programs come from the Debian packages libimobiledevice-utils, usbmuxd,
// libusbmuxd-tools, ideviceinstaller and ifuse, and go-ios from the npm registry
// (.ci/go-ios). The tests run on Linux only. If the environment variable CI is set, a
// test fails if its program is missing; otherwise it is skipped and says what to install.
//
// evidence_test.go says for each service of the virtual device which of the tests use it.
// docs/foreign.md lists the commands.
package interop
