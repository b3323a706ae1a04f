package savefile

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// most is the longest name of all systems: bytes, on Windows units of UTF-16.
const most = 255

// Name returns name if the system can write a file that is called so, and
// otherwise a similar name that it can write. The system is named as
// runtime.GOOS names it. The result is always one element of a path, never ".."
// or the like, and Name returns it unchanged.
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

// windowsName replaces the characters that Windows does not allow, and dots and
// spaces at the end, which it does not keep, and changes names that are devices.
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

// shorten puts mark before the extension and takes from the end of what is
// before it until the name is short enough.
func shorten(goos, name, mark string) string {
	ext := path.Ext(name)
	if len(ext) > 32 || ext == name {
		ext = ""
	}
	base := strings.TrimSuffix(name, ext)
	for length(goos, base+mark+ext) > most {
		_, n := utf8.DecodeLastRuneInString(base)
		base = base[:len(base)-n]
	}
	if goos == "windows" && mark == "" && ext == "" {
		kept := strings.TrimRight(base, ". ") // a cut may have bared them
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

// Names returns the names under which the files of one directory are written on
// a system, in the order of names. No two are the same for the system: those of
// Windows and macOS usually do not tell upper from lower case. Names that the
// system can write as they are come first; of several that it takes for one, the
// first keeps its name.
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

// fold returns the same text for names that a system takes for one.
func fold(goos, name string) string {
	if goos == "linux" {
		return name
	}
	return strings.ToLower(strings.ToUpper(norm.NFC.String(name)))
}
