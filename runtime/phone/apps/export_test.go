package apps

var NumericVersion = numericVersion
