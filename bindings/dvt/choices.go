package dvt

import (
	"strings"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

// services is the prefix of the identifiers of most channels.
const services = "com.apple.instruments.server.services."

// identifier returns the full identifier of a channel. name may lack the prefix.
func identifier(name string) string {
	if strings.HasPrefix(name, "com.") {
		return name
	}
	return services + name
}

// short returns an identifier without the prefix, as scripts write it.
func short(identifier string) string { return strings.TrimPrefix(identifier, services) }

// channelChoices completes the name of a channel. The choices are short names, unless
// the word begins like a full identifier.
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

// selectorChoices completes a selector of the channel that the argument before it names.
func selectorChoices(a api.Argument) []string { return dvt.Selectors(identifier(a.Before[0])) }

// ownSelectorChoices completes a selector of the Channel whose method is called.
func ownSelectorChoices(a api.Argument) []string {
	if c, ok := a.Self.(*Channel); ok {
		return dvt.Selectors(c.name)
	}
	return nil
}
