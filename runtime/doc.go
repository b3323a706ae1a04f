// Package runtime is the map of the Go core; it holds no code, since a package
// of this name would shadow the standard library's.
//
//	host/        the Lua host: state, interpreter lock, tasks, scopes, errors, values
//	  api/       declarations: what scripts see, checked, documented and completed from one place
//	hosttest/    run Lua text in a test
//	link/        what every protocol does with a net.Conn
//	codec/       bytes to values and back, formats that several layers use
//	usbmux/      the host's multiplexer: client, and the muxer of virtual devices
//	pair/        pair records: making, reading, storing
//	lockdown/    lockdownd: client and device side
//	dtx/ remotexpc/ rsd/ remotepair/ tunnel/   the layers of iOS 17 and later
//	service/     one folder a service; service.go is the contract
//	device/      a device we can talk to: find it, describe it, open a service
//	phone/       what the virtual device is: plain data, no protocol
//	virtual/     the virtual device: phone and every device side behind a muxer
//
// Arrows of import point down only; layout_test.go holds the table. Where the
// next thing goes: docs/design.md, section 2.
package runtime

//go:generate go test -run TestReference -count=1 . -update
