package values

const (
	DomainAMFI          = domainAMFI
	DomainInternational = domainInternational
	DomainWireless      = domainWireless
)
