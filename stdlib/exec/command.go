package exec

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// commonOptions are the options that run and start share.
type commonOptions struct {
	Cwd      string            `lua:"cwd" doc:"folder to run it in" kind:"path" access:"read"`
	Env      map[string]string `lua:"env" doc:"environment variables, added to those of imdlua"`
	ClearEnv bool              `lua:"clear_env" doc:"do not pass on the variables of imdlua"`
	Stdin    *[]byte           `lua:"stdin" doc:"all of its standard input, string or Data"`
}

type runOptions struct {
	commonOptions
	Timeout *time.Duration `lua:"timeout" doc:"seconds that it may run" default:"30"`
	Check   bool           `lua:"check" doc:"raise an error of code exit unless the exit code is 0"`

	Stderr string `lua:"stderr" doc:"its target" default:"separate" enum:"separate|merge|discard"`

	MaxOutput *int64 `lua:"max_output" doc:"bytes of out, and of err; --max-string at most"`
	Truncate  bool   `lua:"truncate" doc:"drop output beyond max_output instead of raising an error"`
}

type startOptions struct {
	commonOptions
	Stderr string `lua:"stderr" doc:"its target" default:"merge" enum:"separate|merge|discard"`
}

// pipeOptions says which pipes a program gets.
type pipeOptions struct {
	stdin   bool
	content []byte // written to stdin, which is closed afterwards; nil leaves stdin open
	stderr  string
	limit   int64
	cut     bool
}

// readCommand returns the list in a command table. The named keys of the table are options, which
// are decoded into dst.
func readCommand(c *api.Call, command lua.LValue, dst any) ([]string, error) {
	t, ok := command.(*lua.LTable)
	if !ok {
		return nil, c.ArgError(1, `list expected such as { "git", "status" }, got %s`,
			command.Type())
	}
	args, items := make([]string, t.Len()), 0
	named := c.L.CreateTable(0, 0)
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		n, isNumber := k.(lua.LNumber)
		if !isNumber {
			c.L.RawSet(named, k, v)
			continue
		}
		i := int(n)
		if float64(i) != float64(n) || i < 1 || i > len(args) {
			return nil, c.ArgError(1, "item %s does not belong to the list", k)
		}
		items++
		text, err := argument(c, i, v)
		if err != nil {
			return nil, err
		}
		args[i-1] = text
	}
	if items < len(args) {
		return nil, c.ArgError(1, "an item of the list is nil")
	}
	if len(args) == 0 || args[0] == "" {
		return nil, c.ArgError(1, "the list has no program")
	}
	if k, _ := named.Next(lua.LNil); k != lua.LNil {
		if c.L.Get(2) != lua.LNil {
			return nil, c.ArgError(1, "the options must be in the command or in the second argument, "+
				"not in both")
		}
		if err := c.Index().Options(c.L, named, dst); err != nil {
			return nil, refused(c, err)
		}
	}
	return args, c.Allow(host.AccessExec, args[0])
}

// refused returns the error of an option. The error of a refused permission is returned unchanged.
func refused(c *api.Call, err error) error {
	var e *host.Error
	if errors.As(err, &e) && e.Code == "permission" {
		return e
	}
	return c.ArgError(1, "%s", err)
}

// argument returns item i of a command.
func argument(c *api.Call, i int, v lua.LValue) (string, error) {
	var text string
	switch v := v.(type) {
	case lua.LString, lua.LNumber:
		text = host.ToString(c.L, v)
	default:
		return "", c.ArgError(1, "item %d: string expected, got %s", i, v.Type())
	}
	if strings.IndexByte(text, 0) >= 0 {
		return "", c.ArgError(1, "item %d contains a zero byte", i)
	}
	return text, nil
}

// prepare looks up the program and returns the command that os/exec runs.
func (o commonOptions) prepare(args []string) (*exec.Cmd, error) {
	path, err := exec.LookPath(args[0])
	if err == nil {
		path, err = filepath.Abs(path) // os/exec resolves a relative path from Dir
	}
	if err != nil {
		return nil, missing(args[0], err)
	}
	cmd := &exec.Cmd{Path: path, Args: args, Dir: o.Cwd}
	if o.Cwd != "" {
		if err := folder(o.Cwd); err != nil {
			return nil, err
		}
	}
	if !o.ClearEnv {
		cmd.Env = cmd.Environ()
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would pass on the environment of imdlua
	}
	for name, value := range o.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, host.Errorf("argument", "exec: option \"env\": the variable %q has a name "+
				"or value that cannot be passed on", name)
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd, nil
}

// missing is the error for a program that cannot be run.
func missing(name string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		e := host.Errorf("not_found", "exec: there is no program %q", name)
		if strings.Contains(name, " ") {
			return e.WithHint(`write each argument as an item of its own: { "git", "status" }`)
		}
		return e.WithHint("is it installed, and is its folder in PATH? exec.find looks for it")
	case errors.Is(err, fs.ErrPermission):
		e := host.Errorf("access_denied", "exec: %q may not be run", name)
		return e.WithHint("is it a program, and may this user execute it?")
	}
	return host.Errorf("error", "exec: %q does not start: %v", name, err)
}

// folder checks that the working folder exists. Without this check, the error of the system would
// name the program.
func folder(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return host.Errorf("not_found", "exec: option \"cwd\": there is no folder %s", path)
	case err != nil:
		return host.Errorf("error", "exec: option \"cwd\": %v", err)
	case !info.IsDir():
		return host.Errorf("argument", "exec: option \"cwd\": %s is not a folder", path)
	}
	return nil
}

// open starts the program.
func (o commonOptions) open(args []string, pipes pipeOptions) (*process, error) {
	cmd, err := o.prepare(args)
	if err != nil {
		return nil, err
	}
	p, err := launch(cmd, pipes)
	if err != nil {
		return nil, missing(args[0], err)
	}
	return p, nil
}

func find(c *api.Call, name string) (path *string, err error) {
	c.Block(func(context.Context) error {
		found, err := exec.LookPath(name)
		if err == nil {
			path = &found
		}
		return nil
	})
	return path, nil
}
