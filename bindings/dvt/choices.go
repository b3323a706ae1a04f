package dvt

import (
	"strings"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// services is the prefix of the identifiers of most channels.
const services = "com.apple.instruments.server.services."

// identifier is the whole name of a channel.
func identifier(name string) string {
	if strings.HasPrefix(name, "com.") {
		return name
	}
	return services + name
}

// short is the name of a channel as scripts write it.
func short(identifier string) string { return strings.TrimPrefix(identifier, services) }

// channelChoices completes the name of a channel. Names are short, unless the word
// begins as a whole identifier.
func channelChoices(a api.Argument) []string {
	names := dvt.Channels()
	if strings.HasPrefix(a.Word, "com.") {
		return names
	}
	for i, name := range names {
		names[i] = short(name)
	}
	return names
}

// selectorChoices completes a method of the channel that stands before it.
func selectorChoices(a api.Argument) []string { return dvt.Selectors(identifier(a.Before[0])) }

// ownSelectorChoices completes a method of the channel that it is called on.
func ownSelectorChoices(a api.Argument) []string {
	if c, ok := a.Self.(*Channel); ok {
		return dvt.Selectors(c.name)
	}
	return nil
}
