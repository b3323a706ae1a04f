package phone

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/crashes"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

const (
	// maxDiagnosed bounds each file in a sysdiagnose, maxSysdiagnose all of them
	// together, because hosts can add files to the crash reports.
	maxDiagnosed   = 8 << 20
	maxSysdiagnose = 64 << 20
)

// SysdiagnoseName returns the name of an archive that is made at the given time,
// without its extension: sysdiagnose_2024.06.03_09-41-00+0000_iPhone-OS_iPhone_21F90.
func (p *Phone) SysdiagnoseName(at time.Time) string {
	return "sysdiagnose_" + at.In(p.Values.Zone()).Format("2006.01.02_15-04-05-0700") +
		"_iPhone-OS_" + string(p.Identity.DeviceClass()) + "_" + p.Identity.Build
}

// Sysdiagnose makes a compressed archive for the analysis of problems: the crash
// reports, the list of processes and, with logs, the log. It returns the file name
// of the archive and its bytes, and leaves the archive among the crash reports, in
// crashes.SysdiagnoseDir.
func (p *Phone) Sysdiagnose(logs bool) (name string, archive []byte, err error) {
	now := p.Clock.Now()
	name = p.SysdiagnoseName(now)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	c := &collector{tar: tar.NewWriter(z), dir: name, left: maxSysdiagnose}
	c.add("sysdiagnose.log", fmt.Appendf(nil, "%s: executing sysdiagnose on %s, %s (%s)\n",
		now.UTC().Format(time.RFC3339), p.Identity.ProductType, p.Identity.Version,
		p.Identity.Build), now)
	c.add("ps.txt", p.processText(), now)
	if logs {
		c.add("system_logs.txt", p.logText(), now)
	}
	c.tree(p.Crashes.Files, "", "crashes_and_spins")
	for _, done := range []func() error{c.tar.Close, z.Close} {
		if err := done(); err != nil && c.err == nil {
			c.err = err
		}
	}
	if c.err != nil {
		return "", nil, failure.Wrap("sysdiagnose", name, c.err)
	}
	name += ".tar.gz"
	if err := p.Crashes.AddSysdiagnose(name, out.Bytes()); err != nil {
		return "", nil, failure.Wrap("sysdiagnose", name, err)
	}
	return name, out.Bytes(), nil
}

// collector writes an archive and remembers its first error.
type collector struct {
	tar  *tar.Writer
	dir  string
	left int
	err  error
}

func (c *collector) add(name string, b []byte, at time.Time) {
	if c.err != nil || len(b) > c.left {
		return
	}
	c.left -= len(b)
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(c.dir, name), Mode: 0o644, Size: int64(len(b)),
		ModTime: at.Truncate(time.Second),
	}
	c.err = c.tar.WriteHeader(h)
	if c.err == nil {
		_, c.err = c.tar.Write(b)
	}
}

// tree adds the files of a directory. It leaves out files that cannot be read, as
// real phones do.
func (c *collector) tree(f *files.FS, dir, as string) {
	if dir == crashes.SysdiagnoseDir {
		return // an archive does not have the earlier ones in it
	}
	names, err := f.ReadDir("/" + dir)
	if err != nil {
		return
	}
	for _, name := range names {
		from := path.Join(dir, name)
		info, err := f.Stat(from)
		switch {
		case err != nil:
		case info.Kind == files.Directory:
			c.tree(f, from, path.Join(as, name))
		case info.Kind == files.Regular && info.Size <= maxDiagnosed:
			if b, err := f.ReadFile(from); err == nil {
				c.add(path.Join(as, name), b, info.ModTime)
			}
		}
	}
}

func (p *Phone) processText() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-10s %5s %5s STARTED                  COMMAND\n", "USER", "PID", "PPID")
	for _, proc := range p.Processes.List() {
		fmt.Fprintf(&b, "%-10s %5d %5d %s %s\n", proc.User, proc.PID, proc.ParentPID,
			proc.Started.UTC().Format(time.ANSIC), proc.Path)
	}
	return b.Bytes()
}

func (p *Phone) logText() []byte {
	var b bytes.Buffer
	for _, e := range p.Log.History() {
		subsystem := ""
		if e.Subsystem != "" {
			subsystem = "[" + e.Subsystem + ":" + e.Category + "] "
		}
		fmt.Fprintf(&b, "%s %s[%d] <%s>: %s%s\n", e.Time.UTC().Format("2006-01-02 15:04:05.000000"),
			path.Base(e.ProcessPath), e.PID, e.Level,
			subsystem, strings.ReplaceAll(e.Message, "\n", " "))
	}
	return b.Bytes()
}
