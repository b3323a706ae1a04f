// Package interop holds no code, only tests: programs that were written
// elsewhere against what is written here.
//
//	libimobiledevice's tools, ideviceinstaller, ifuse, iproxy -> virtual device
//	this repository's usbmux client                           -> the real usbmuxd
//
// The programs are the Debian packages libimobiledevice-utils, usbmuxd,
// libusbmuxd-tools, ideviceinstaller and ifuse; on systems other than Linux
// there are no tests here. Where the environment variable CI is set a missing
// program fails its test; elsewhere the test is skipped and says what to
// install.
package interop
