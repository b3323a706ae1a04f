// Package phone is the model of a simulated iPhone: its properties, its contents
// and its behaviour. It knows no protocol. The device sides of the services send
// what the model holds; all facts about the phone are in this package and those
// below it.
//
// Its profiles are an iPhone 13 with iOS 16.7, an iPhone 14 with 17.2, an iPhone 14 Pro with
// 17.5, an iPhone 16 Pro with 18.5, an iPhone 17 with 26.1, an iPad with 17.5 and an iPad Pro
// with 18.5. Services use it like this, for example when a host pairs and installs an app:
//
//	p.Values.PublicDomain()            GetValue without a session
//	p.Trust.Pair(request)           -> trust.ErrDialogPending   the trust dialog shows
//	p.Trust.TapTrust()                 posts ...lockdown.request_pair
//	p.Trust.Pair(request)           -> trust.Host{EscrowBag, ...}
//	p.Values.Domain("")                GetValue with a session
//	p.Media.Open(path, flag)           AFC
//	p.Apps.Install(spec)               posts ...application_installed
//	p.Log.Watch(options)               syslog_relay, os_trace_relay
//
// Each subject is a package below this one, with its own type and lock, and is a field of
// Phone. Subjects import each other only where the import table allows it. This package
// passes them everything else that they need as functions, and implements the rules that
// concern several subjects.
//
// A phone is determined by its profile and serial. Only time, the escrow bags and
// keys of pairing, and the actions of hosts are different each time.
package phone
