package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib/args"
)

type scriptFlags struct{ code []string }

// maxScript is the size of the largest script on standard input.
const maxScript = 16 << 20

// script runs the code of -e, a file or standard input. Without any of these and on a terminal, it
// runs the REPL.
func (c *cli) script(ctx context.Context, f *scriptFlags, args []string) error {
	switch {
	case f.code != nil:
		return c.runScript(ctx, "-e", strings.Join(f.code, "\n"), args)
	case len(args) == 0 && c.stdinTTY:
		return c.repl(ctx, replSetup{})
	case len(args) == 0 || args[0] == "-":
		source, err := c.readStdin(ctx)
		if err != nil {
			return err
		}
		return c.runScript(ctx, "stdin", source, args[min(1, len(args)):])
	}
	source, err := readFile(args[0])
	if err != nil {
		return c.unknownScript(args[0], err)
	}
	return c.runScript(ctx, args[0], source, args[1:])
}

// unknownScript returns the error for a script that cannot be read. If the name may be a mistyped
// subcommand, the error suggests one.
func (c *cli) unknownScript(name string, err error) error {
	if _, stat := os.Stat(name); stat == nil || strings.ContainsAny(name, `./\`) {
		return err
	}
	var names []string
	for _, cmd := range c.rootCommand().Commands() {
		names = append(names, cmd.Name())
	}
	slices.Sort(names)
	e := host.Errorf("usage", "there is no command and no script %q", name)
	if near := host.Suggest(name, names); near != "" {
		return e.WithHint("did you mean imdlua %s?", near)
	}
	if c.flags.tunnel.given && c.flags.tunnel.value == "" {
		return e.WithHint("--tunnel takes a UDID; a name goes into --device")
	}
	return e
}

// readStdin reads a script from standard input.
func (c *cli) readStdin(ctx context.Context) (string, error) {
	type result struct {
		source []byte
		err    error
	}
	read := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(c.stdin, maxScript+1))
		read <- result{b, err}
	}()
	select {
	case r := <-read:
		if len(r.source) > maxScript {
			return "", usageError("the script on standard input is longer than %d MB",
				maxScript>>20)
		}
		return string(r.source), r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// runScript runs a script to its end and reports how it failed.
func (c *cli) runScript(ctx context.Context, chunk, source string, arguments []string) error {
	if slices.Contains(arguments, "--help") {
		if text, ok := args.Help(source); ok {
			_, err := io.WriteString(c.stdout, text)
			return err
		}
	}
	c.guardMemory()
	h, err := c.newHost(host.Options{
		Stdin: c.stdin, Stdout: c.out.out, Stderr: c.err.out, Args: arguments,
	})
	if err != nil {
		return err
	}
	direct := c.through(h)
	err = h.Run(ctx, chunk, source)
	direct() // h.Run has written everything that the script has printed
	if err != nil {
		h.Report(c.err.composed(), err)
	}
	if closing := h.Close(); err == nil && closing != nil {
		h.Report(c.err.composed(), closing)
		err = closing
	}
	if err != nil {
		return reported{err}
	}
	return nil
}
