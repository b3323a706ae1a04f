package rsd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/savefile"
)

// maxHostFile bounds the file of HostIdentity, which has 37 bytes.
const maxHostFile = 1 << 10

// HostIdentity returns the identity of this computer that is stored in a file, for
// Options.Host. The first call creates the file with mode 0600. Programs that start at
// the same time all get the same identity. rand is the source of random bytes; nil
// means crypto/rand.
func HostIdentity(path string, rand io.Reader) (xpc.UUID, error) {
	id, err := readHost(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, hostError(err)
	}
	id = link.UUID(rand)
	err = savefile.NewPrivate(path, hostText(id))
	if errors.Is(err, fs.ErrExist) {
		id, err = readHost(path) // another program was first
	}
	return id, hostError(err)
}

// KeepHostIdentity stores an identity, for when its source does not answer. It does not
// write a file that has the identity already.
func KeepHostIdentity(path string, id xpc.UUID) error {
	old, err := readHost(path)
	if err == nil && old == id {
		return nil
	}
	return hostError(savefile.Private(path, hostText(id)))
}

func hostText(id xpc.UUID) []byte { return []byte(id.String() + "\n") }

func hostError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: "host identity", Err: err}
}

func readHost(path string) (xpc.UUID, error) {
	f, err := os.Open(path)
	if err != nil {
		return xpc.UUID{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHostFile))
	if err != nil {
		return xpc.UUID{}, err
	}
	id, err := xpc.ParseUUID(strings.TrimSpace(string(b)))
	if err != nil {
		return xpc.UUID{}, fmt.Errorf("%s has no UUID", path)
	}
	return id, nil
}

// RemotedIdentity finds the identity of a Mac in the output of `remotectl dumpstate`.
// remoted of macOS keeps connections to the lists of devices itself, so that no other
// identity lasts there. The output begins with the Mac and goes on with its devices:
//
//	Local device
//		UUID: EB958862-...
//		Messaging Protocol Version: 5
func RemotedIdentity(dump []byte) (xpc.UUID, bool) {
	local := false
	for line := range strings.Lines(string(dump)) {
		if !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, " ") {
			local = strings.TrimSpace(line) == "Local device"
			continue
		}
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "UUID:")
		if !ok || !local {
			continue
		}
		id, err := xpc.ParseUUID(strings.TrimSpace(text))
		return id, err == nil
	}
	return xpc.UUID{}, false
}
