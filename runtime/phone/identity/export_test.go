package identity

var (
	Luhn        = luhn
	LongVersion = longVersion
)
