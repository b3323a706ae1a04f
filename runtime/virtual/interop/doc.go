// Package interop holds only tests. They run programs of other projects against
// this project:
//
//	libimobiledevice's tools, ideviceinstaller, ifuse, iproxy -> virtual device
//	this repository's usbmux client                           -> the real usbmuxd
//
// The programs come from the Debian packages libimobiledevice-utils, usbmuxd,
// libusbmuxd-tools, ideviceinstaller and ifuse. The tests run on Linux only. If
// the environment variable CI is set, a test fails if its program is missing;
// otherwise it is skipped and says what to install.
package interop
