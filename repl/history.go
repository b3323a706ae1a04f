package repl

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/savefile"
)

const (
	historyLimit = 5000
	// historyBytes is the largest number of bytes that are read from a history file.
	historyBytes = 16 << 20
)

// history is the list of past inputs, oldest first, without repetitions, and the file
// that stores it. Several programs may use one file: each appends single entries, and
// the whole file is written only when it is loaded.
type history struct {
	path    string // "" means that there is no file
	entries []string
}

// loadHistory reads the file, if there is one. The result can be used even if there
// is an error.
func loadHistory(path string) (*history, error) {
	h := &history{path: path}
	if path == "" {
		return h, nil
	}
	lines, err := readHistory(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return h, err
	}
	seen := map[string]bool{}
	for _, line := range slices.Backward(lines) {
		if line != "" && !seen[line] && len(h.entries) < historyLimit {
			seen[line] = true
			h.entries = append(h.entries, strings.ReplaceAll(line, newlineSign, "\n"))
		}
	}
	slices.Reverse(h.entries)
	if len(h.entries) < len(lines) {
		return h, h.rewrite()
	}
	return h, os.Chmod(path, 0o600)
}

func readHistory(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > historyBytes {
		if _, err := f.Seek(-historyBytes, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	var lines []string
	s := bufio.NewScanner(io.LimitReader(f, historyBytes))
	s.Buffer(nil, maxLine)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines, s.Err()
}

// add adds an entry at the end and removes an equal one. It ignores inputs that begin
// with a space, so that users can keep secrets out of the history.
func (h *history) add(entry string) error {
	entry = strings.TrimRight(strings.ReplaceAll(entry, "\r", ""), "\n \t")
	if entry == "" || entry[0] == ' ' {
		return nil
	}
	if n := len(h.entries); n > 0 && h.entries[n-1] == entry {
		return nil
	}
	h.entries = slices.DeleteFunc(h.entries, func(e string) bool { return e == entry })
	h.entries = append(h.entries, entry)
	if len(h.entries) > historyLimit {
		h.entries = slices.Delete(h.entries, 0, len(h.entries)-historyLimit)
	}
	if h.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(h.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(encodeEntry(entry))
	return errors.Join(err, f.Close())
}

func encodeEntry(entry string) string {
	return strings.ReplaceAll(entry, "\n", newlineSign) + "\n"
}

// rewrite writes the whole file.
func (h *history) rewrite() error {
	var b strings.Builder
	for _, e := range h.entries {
		b.WriteString(encodeEntry(e))
	}
	return savefile.Private(h.path, []byte(b.String()))
}
