package savefile

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxName is the longest name on all systems, in bytes or, on Windows, in units of
// UTF-16.
const maxName = 255

// Name returns name if the system can write a file of that name, and otherwise a
// similar name that it can write. The system is named as in runtime.GOOS. The result is
// a single element of a path and never "..". Name returns such a result unchanged.
func Name(goos, name string) string {
	switch {
	case name == "":
		return "_"
	case name == ".", name == "..":
		return strings.ReplaceAll(name, ".", "_")
	}
	name = strings.NewReplacer("/", "_", "\x00", "_").Replace(name)
	if goos != "linux" {
		name = strings.ToValidUTF8(name, "_")
	}
	if goos == "windows" {
		name = windowsName(name)
	}
	return shorten(goos, name, "")
}

// windowsName replaces the characters that Windows does not allow, and the dots and
// spaces at the end, which it drops. It also changes the names of devices.
func windowsName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`<>:"|?*\`, r) {
			return '_'
		}
		return r
	}, name)
	kept := strings.TrimRight(name, ". ")
	name = kept + strings.Repeat("_", len(name)-len(kept))
	base, ext, _ := strings.Cut(name, ".")
	if !reserved(strings.TrimRight(base, " ")) {
		return name
	}
	if ext != "" {
		ext = "." + ext
	}
	return base + "_" + ext
}

func reserved(base string) bool {
	switch base = strings.ToUpper(base); base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	digit, port := strings.CutPrefix(base, "COM")
	if !port {
		digit, port = strings.CutPrefix(base, "LPT")
	}
	return port && utf8.RuneCountInString(digit) == 1 && strings.Contains("0123456789¹²³", digit)
}

// shorten inserts mark before the extension. It shortens the part before mark until the
// name is short enough.
func shorten(goos, name, mark string) string {
	ext := path.Ext(name)
	if len(ext) > 32 || ext == name {
		ext = ""
	}
	base := strings.TrimSuffix(name, ext)
	for length(goos, base+mark+ext) > maxName {
		_, n := utf8.DecodeLastRuneInString(base)
		base = base[:len(base)-n]
	}
	if goos == "windows" && mark == "" && ext == "" {
		kept := strings.TrimRight(base, ". ") // the cut may end at one of these
		base = kept + strings.Repeat("_", len(base)-len(kept))
	}
	return base + mark + ext
}

func length(goos, name string) int {
	if goos == "windows" {
		return len(utf16.Encode([]rune(name)))
	}
	return len(name)
}

// Names returns the names under which the files of one directory are written on a
// system, in the order of names. All results are different for the system; Windows and
// macOS usually ignore case. Names that the system can write unchanged take precedence.
// Of several names that are the same for the system, the first is kept.
func Names(goos string, names []string) []string {
	out := make([]string, len(names))
	taken := map[string]bool{}
	for i, name := range names {
		key := fold(goos, name)
		if Name(goos, name) == name && !taken[key] {
			out[i], taken[key] = name, true
		}
	}
	for i, name := range names {
		if out[i] != "" {
			continue
		}
		safe := Name(goos, name)
		out[i] = safe
		for n := 2; taken[fold(goos, out[i])]; n++ {
			out[i] = shorten(goos, safe, "~"+strconv.Itoa(n))
		}
		taken[fold(goos, out[i])] = true
	}
	return out
}

// fold returns the same text for all names that are the same for a system.
func fold(goos, name string) string {
	if goos == "linux" {
		return name
	}
	return strings.ToLower(strings.ToUpper(norm.NFC.String(name)))
}
