package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

// cli is one run of the program.
type cli struct {
	*app
	flags    globals
	out, err *stream // stdout and stderr of app
	stop     context.CancelCauseFunc
	tracer   *tracer      // nil until something may be logged
	log      *slog.Logger // logs to tracer

	alive context.Context // ends when the run has ended, not at a signal
	guard sync.Once       // starts the memory guard

	mu         sync.Mutex
	interrupts chan os.Signal // receives Ctrl-C for the REPL, nil without a REPL
	world      world
}

// reported is an error that was reported to the user already.
type reported struct{ error }

func (r reported) Unwrap() error { return r.error }

// usageError is a mistake on the command line.
func usageError(format string, args ...any) *host.Error {
	return host.Errorf("usage", format, args...)
}

// newCLI prepares a run. Its context ends at the first signal, and end must be
// called when the run is over.
func newCLI(ctx context.Context, a *app) (running context.Context, c *cli, end func()) {
	own := *a // a copy, because the streams are replaced
	c = &cli{app: &own}
	var over context.CancelFunc
	c.alive, over = context.WithCancel(context.WithoutCancel(ctx))
	ctx, c.stop = context.WithCancelCause(ctx)
	c.out = newStream(a.stdout, a.stdoutTTY, ctx.Done())
	c.err = newStream(a.stderr, a.stderrTTY, ctx.Done())
	if a.oneOutput {
		c.err.out = c.out.out
	}
	own.stdout, own.stderr = c.out, c.err
	c.world.choice.turn = make(chan struct{}, 1)
	c.world.choice.turn <- struct{}{}
	return ctx, c, func() {
		c.stop(nil)
		over()
	}
}

// run runs the program and returns the exit code.
func run(ctx context.Context, a *app) int {
	ctx, c, end := newCLI(ctx, a)
	defer end()
	go c.watchSignals(c.alive.Done())
	root := c.rootCommand()
	root.SetArgs(separate(root, joinValues(root, a.args)))
	err := root.ExecuteContext(ctx)
	if closing := c.world.close(); err == nil {
		err = closing
	}
	return c.finish(signalled(ctx, err))
}

// signalled returns the error of the signal that has ended ctx, because err is a consequence of it.
// Without a signal it returns err.
func signalled(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var done reported
	if err == nil || !bySignal(cause) || errors.Is(err, cause) || errors.As(err, &done) {
		return err
	}
	return cause
}

// finish reports err to the user and returns the exit code.
func (c *cli) finish(err error) int {
	var done reported
	if err != nil && !errors.As(err, &done) {
		c.report(err)
	}
	return exitCode(err)
}

// report writes an error of the program itself. Errors of scripts are written by their host.
func (c *cli) report(err error) {
	e := c.explain(err)
	if e.Code == "usage" && !c.flags.errorsJSON() {
		c.notice("%s", e.Message)
		if e.Hint == "" {
			e.Hint = "imdlua --help lists commands and flags"
		}
		fmt.Fprintf(c.stderr, "  hint: %s\n", visible.Marked(e.Hint))
		return
	}
	o := host.Options{
		ErrorsJSON: c.flags.errorsJSON(), Color: c.color(c.stderrTTY), Verbose: c.flags.verbose,
		Terminal: c.terminal(),
	}
	host.New(o).Report(c.err.composed(), e)
}

// explain converts an error to the error that scripts would get.
func (c *cli) explain(err error) *host.Error {
	var e *host.Error
	if errors.As(err, &e) {
		return e
	}
	e = mapError(err)
	if e != nil {
		return e
	}
	return &host.Error{Code: "error", Message: err.Error(), Cause: err}
}

// exitCode returns the exit code for err. It knows the errors of the program itself in addition to
// those that host.ExitCode knows.
func exitCode(err error) int {
	code := host.ExitCode(err)
	if code != 1 {
		return code
	}
	var e *host.Error
	if !errors.As(err, &e) {
		e = mapError(err)
		if e != nil {
			code = host.ExitCode(e)
		}
	}
	if code == 1 && errors.Is(err, context.DeadlineExceeded) {
		return 5
	}
	return code
}

// color reports whether the output of a stream may have colours. tty is true if the stream is a
// terminal.
func (c *cli) color(tty bool) bool {
	_, plain := c.env("NO_COLOR")
	term, _ := c.env("TERM")
	return tty && !plain && term != "dumb"
}

// rootCommand builds the command tree.
func (c *cli) rootCommand() *cobra.Command {
	script := &scriptFlags{}
	root := &cobra.Command{
		Use:   "imdlua [flags] [script.lua | -] [arguments]",
		Short: "Lua scripts for iPhones and iPads",
		Long: `imdlua runs Lua scripts against iPhones and iPads: over USB, Wi-Fi or a remote
usbmuxd, or against the virtual device that is built in (--virtual).

All arguments after the name of the script are passed to the script, flags as
well. Without a script and on a terminal, imdlua starts its REPL.

The process ends when it uses more than three quarters of the memory of this
computer or of its control group; GOMEMLIMIT sets another limit, such as 8GiB.`,
		Example: `  imdlua --virtual -e 'print(device().name)'
  imdlua script.lua one two
  imdlua --device 00008110-000A1B2C3D4E5F60 script.lua`,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.flags.check() },
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.script(cmd.Context(), script, args)
		},
	}
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%v", err) })
	root.Flags().StringArrayVarP(&script.code, "execute", "e", nil,
		"run this Lua `code` instead of a file")
	root.Flags().SetInterspersed(false)
	c.flags.register(root.PersistentFlags(), c.env)
	root.AddCommand(
		c.devicesCommand(), c.infoCommand(), c.pairCommand(), c.unpairCommand(),
		c.forwardCommand(), c.tunnelCommand(), c.tunneldCommand(), c.browseCommand(),
		c.recordsCommand(), c.wifiCommand(), c.replCommand(), c.serviceCommand(),
		c.virtualCommand(), c.typesCommand(),
		c.docsCommand(), c.versionCommand(),
	)
	return root
}

// noArgs does what cobra.NoArgs does, with a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%s takes no arguments, not %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// separate puts a "--" before the name of the script, so that its arguments are not read as flags
// or subcommands.
func separate(root *cobra.Command, args []string) []string {
	takesValue := func(f *pflag.Flag) bool { return f != nil && f.NoOptDefVal == "" }
	code := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return args
		case len(a) > 2 && a[:2] == "--":
			name, _, has := strings.Cut(a[2:], "=")
			f := root.Flags().Lookup(name)
			if f == nil {
				f = root.PersistentFlags().Lookup(name)
			}
			code = code || name == "execute"
			if !has && takesValue(f) {
				i++
			}
		case len(a) > 1 && a[0] == '-':
			f := root.Flags().ShorthandLookup(a[1:2])
			if f == nil {
				f = root.PersistentFlags().ShorthandLookup(a[1:2])
			}
			code = code || a[1] == 'e'
			if len(a) == 2 && takesValue(f) {
				i++
			}
		case !code && isCommand(root, a):
			return args
		default:
			return slices.Insert(slices.Clone(args), i, "--")
		}
	}
	return args
}

// isCommand reports whether name is a command, including those that cobra adds.
func isCommand(root *cobra.Command, name string) bool {
	for _, c := range root.Commands() {
		if c.Name() == name || c.HasAlias(name) {
			return true
		}
	}
	switch name {
	case "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return true
	}
	return false
}
