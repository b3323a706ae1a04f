package trust

const (
	MaxHosts       = maxHosts
	MaxLabel       = maxLabel
	MaxHostID      = maxHostID
	MaxCertificate = maxCertificate
)

// TapTrustOn answers the nth dialog.
var TapTrustOn = (*Trust).tapTrust
