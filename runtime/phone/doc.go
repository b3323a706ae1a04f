// Package phone is the model of a simulated iPhone: what it is, what it
// holds and how it behaves, without a word of any protocol. The device sides
// of the services put it on the wire; a fact about the phone is found here
// and nowhere else.
//
// Its profiles are an iPhone 13 with iOS 16.7, an iPhone 14 with 17.2, an
// iPhone 14 Pro with 17.5, an iPhone 16 Pro with 18.5 and an iPhone 17 with
// 26.1. What a service asks of it, for example a host that pairs and installs
// an app:
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
// Each subject is a package below this one, with its own type and lock, and a field of
// Phone. Subjects know each other only where the import table says so; this package gives
// them what else they need as functions, and holds the rules that span several.
//
// Everything is deterministic except time, the bags and keys of pairing and
// what hosts do: the same profile and serial is the same phone.
package phone
