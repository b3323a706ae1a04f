package term

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/visible"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

// maxChoices is the longest list that choose shows.
const maxChoices = 1000

// questions asks one question at a time.
type questions struct{ turn chan struct{} }

type askOptions struct {
	Timeout *time.Duration `lua:"timeout" doc:"seconds to wait for the answer, no limit by default"`
}

type confirmOptions struct {
	askOptions
	Default *bool `lua:"default" doc:"answer for an empty line, and without a terminal"`
}

type chooseOptions struct {
	askOptions
	Default lua.LValue `lua:"default" doc:"item for an empty line, and without a terminal"`
}

func (q *questions) confirmFunc() *api.Func {
	return api.Function("confirm", "Asks a question whose answer is yes or no. Other output of the "+
		"script is held back until then. The answer is the default if there is no terminal, if "+
		"the input ends, or after the timeout; if no default is given, these are errors.",
		"question opts?", q.confirm,
		api.ParamDoc("question", "text without the possible answers, which are added"),
		api.ParamDoc("opts", "default, timeout"),
		api.Raises("no_terminal", "no_answer", "timeout"),
		api.Returns("boolean yes"),
		api.Example(`local term = require("imd.term")
return term.confirm("Erase the device?", { default = false }) -- => false`))
}

func (q *questions) chooseFunc() *api.Func {
	return api.Function("choose", "Shows a list and asks for one of its items. The answer is the "+
		"number or the text of an item. The default is chosen if there is no terminal, if the "+
		"input ends, or after the timeout; if no default is given, these are errors.",
		"question list opts?", q.choose,
		api.ParamDoc("question", "text above the list"),
		api.ParamDoc("list", "the items, which are shown as by tostring"),
		api.ParamDoc("opts", "default, timeout"),
		api.Raises("no_terminal", "no_answer", "timeout"),
		api.Returns("any item", "integer number"),
		api.Example(`local term = require("imd.term")
local names = { "debug", "release" }
return term.choose("Which build?", names, { default = "debug" }) -- => "debug", 1`))
}

// errNoAnswer means that the input has ended.
var errNoAnswer = errors.New("no answer")

// ask asks a question until accept accepts the answer. accept returns an empty text, or the text of
// the next question. ask reports whether there was an answer.
func (q *questions) ask(
	c *api.Call,
	o askOptions,
	hasDefault bool,
	text string,
	accept func(line string) (again string),
) (answered bool, err error) {
	t := terminal(c)
	if !t.Stdin || !t.Stderr {
		if hasDefault {
			return false, nil
		}
		e := host.Errorf("no_terminal", "there is no terminal to ask on: %s", firstLine(text))
		return false, e.WithHint("set the option default for runs without a terminal")
	}
	in, out := lua51.StdinOf(c.Host()), c.Host().Stderr()
	err = c.Timeout(o.limit()).TryBlock(func(ctx context.Context) error {
		select {
		case q.turn <- struct{}{}:
			defer func() { <-q.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
		for {
			line, err := question(ctx, in, out, text)
			if err != nil {
				return err
			}
			again := accept(strings.TrimSpace(line))
			if again == "" {
				return nil
			}
			text = again + ": "
		}
	})
	late := errors.Is(err, context.DeadlineExceeded)
	switch {
	case err == nil:
		return true, nil
	case hasDefault && (late || errors.Is(err, errNoAnswer)):
		return false, nil
	case late:
		return false, host.Errorf("timeout", "no answer to the question: %s", firstLine(text))
	case errors.Is(err, errNoAnswer):
		return false, host.Errorf("no_answer", "the input ended at the question: %s",
			firstLine(text))
	}
	return false, err
}

// limit returns how long to wait for the answer.
func (o askOptions) limit() time.Duration {
	if o.Timeout == nil || *o.Timeout == api.NoTimeout {
		return api.NoTimeout
	}
	return max(*o.Timeout, 1) // 0 would mean the default of the host
}

// question asks once.
func question(ctx context.Context, in lua51.Stdin, out *host.Stream, text string) (
	string, error,
) {
	answered, err := out.Ask(ctx, text)
	if err != nil {
		return "", err
	}
	entered := false
	defer func() { answered(entered) }()
	line, ok, err := in.ReadLine(ctx)
	if err == nil && !ok {
		err = errNoAnswer
	}
	entered = err == nil
	return line, err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}

func (q *questions) confirm(c *api.Call, text string, o confirmOptions) (bool, error) {
	marks := "y/n"
	if o.Default != nil {
		marks = map[bool]string{true: "Y/n", false: "y/N"}[*o.Default]
	}
	yes := o.Default != nil && *o.Default
	accept := func(line string) string {
		switch strings.ToLower(line) {
		case "y", "yes":
			yes = true
			return ""
		case "n", "no":
			yes = false
			return ""
		case "":
			if o.Default != nil {
				return ""
			}
		}
		return "Please answer y or n"
	}
	_, err := q.ask(c, o.askOptions, o.Default != nil,
		fmt.Sprintf("%s [%s] ", visible.Label(text), marks), accept)
	return yes, err
}

func (q *questions) choose(c *api.Call, text string, list []lua.LValue, o chooseOptions) (
	item lua.LValue, number int, err error,
) {
	if len(list) == 0 || len(list) > maxChoices {
		return nil, 0, c.ArgError(2, "a list of 1 to %d items expected", maxChoices)
	}
	var b strings.Builder
	fmt.Fprintln(&b, visible.Label(text))
	names := make([]string, len(list))
	for i, item := range list {
		names[i] = visible.Label(host.ToString(c.L, item))
		fmt.Fprintf(&b, "%4d) %s\n", i+1, names[i])
		if o.Default != nil && c.L.Equal(o.Default, item) && number == 0 {
			number = i + 1
		}
	}
	hasDefault := o.Default != nil && o.Default != lua.LNil
	if hasDefault && number == 0 {
		return nil, 0, c.ArgError(3, "option \"default\": the value is not in the list")
	}
	ask := fmt.Sprintf("Number (1-%d)", len(list))
	if hasDefault {
		ask += fmt.Sprintf(" [%d]", number)
	}
	b.WriteString(ask + ": ")
	accept := func(line string) string {
		if line == "" && hasDefault {
			return ""
		}
		for i, name := range names {
			if line == name && line != "" {
				number = i + 1
				return ""
			}
		}
		n, err := strconv.Atoi(line)
		if err != nil || n < 1 || n > len(names) {
			return fmt.Sprintf("Please answer with a number from 1 to %d", len(names))
		}
		number = n
		return ""
	}
	_, err = q.ask(c, o.askOptions, hasDefault, b.String(), accept)
	if err != nil {
		return nil, 0, err
	}
	return list[number-1], number, nil
}
