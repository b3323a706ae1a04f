package term

import (
	"fmt"
	"math"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/progress"
)

// Bar is a progress bar with an amount. Spinner shows that something is going on.
type (
	Bar     struct{ *progress.Bar }
	Spinner struct{ *progress.Bar }
)

type barOptions struct {
	Total *float64 `lua:"total" doc:"amount of the whole, unknown by default"`
	Label string   `lua:"label" doc:"text before the bar"`
	Unit  string   `lua:"unit" doc:"what is counted" enum:"items|bytes" default:"items"`
}

func progressFuncs() []*api.Func {
	return []*api.Func{
		api.Function("bar", "Shows progress on standard error, with the rate and the time that "+
			"is left. The line stays below what the script prints, and is removed with its "+
			"scope.",
			"opts?", newBar,
			api.ParamDoc("opts", "total, label, unit"),
			api.Returns("ProgressBar bar"),
			api.Example(`local bar = require("imd.term").bar{ total = 2048, unit = "bytes" }
bar:update(1024)
bar:add(1024)
print(bar.value) -- => 2048`)),
		api.Function("spinner", "Shows on standard error that something is going on, and for how long.",
			"label", newSpinner,
			api.ParamDoc("label", "what is going on"),
			api.Returns("Spinner spinner"),
			api.Example(`local spinner = require("imd.term").spinner("waiting for the device")
spinner:finish("the device is there")`)),
	}
}

func newBar(c *api.Call, o barOptions) (opened api.Opened[*Bar], err error) {
	p := progress.Options{Label: o.Label, Bytes: o.Unit == "bytes"}
	if o.Total != nil {
		p.Total = *o.Total
		if !(p.Total >= 0) || math.IsInf(p.Total, 0) {
			return opened, c.ArgError(1, "option \"total\": must be 0 or more")
		}
	}
	return api.Own(c, &Bar{progress.New(c.Host(), p)}), nil
}

func newSpinner(c *api.Call, label string) api.Opened[*Spinner] {
	o := progress.Options{Label: label, Spinner: true}
	return api.Own(c, &Spinner{progress.New(c.Host(), o)})
}

const makeBar = `local bar = require("imd.term").bar{ total = 10, label = "copy" }
`

func barClass() *api.Class {
	c := api.NewClass[*Bar]("ProgressBar", "A line that shows progress. Made by "+
		"`term.bar`.")
	c.Var, c.Closer = "bar", true
	c.String = func(b *Bar) string {
		if b.Total() > 0 {
			return fmt.Sprintf("ProgressBar<%s %g/%g>", b.Label(), b.Value(), b.Total())
		}
		return fmt.Sprintf("ProgressBar<%s %g>", b.Label(), b.Value())
	}
	c.Fields = []*api.Field{
		api.Property("value", "how much is done", func(b *Bar) float64 { return b.Value() }),
		api.Property("total", "amount of the whole, nil if it is not known",
			func(b *Bar) *float64 {
				if t := b.Total(); t > 0 {
					return &t
				}
				return nil
			}),
		api.Property("elapsed", "seconds since the beginning",
			func(b *Bar) float64 { return b.Elapsed().Seconds() }),
	}
	c.Methods = []*api.Func{
		api.Method("update", "Sets how much is done, and the label if one is given.",
			"value label?", update,
			api.ParamDoc("value", "the amount so far"),
			api.ParamDoc("label", "new text before the bar"),
			api.Example(makeBar+`bar:update(5, "copy a.txt")
return bar.value -- => 5`)),
		api.Method("add", "Adds to the amount that is done.",
			"n?", add,
			api.ParamDoc("n", "the amount, 1 if it is not given"),
			api.Example(makeBar+`bar:add()
bar:add(2)
return bar.value -- => 3`)),
		api.Method("finish", "Replaces the bar by a line with the amount and the time. Further calls "+
			"do nothing.",
			"text?", func(_ *api.Call, b *Bar, text *string) { b.Finish(orEmpty(text)) },
			api.ParamDoc("text", "what the line says instead of the label"),
			api.Example(makeBar+`bar:add(10)
bar:finish("copied")`)),
	}
	return c
}

func spinnerClass() *api.Class {
	c := api.NewClass[*Spinner]("Spinner", "A line that shows that something is going on. Made by "+
		"`term.spinner`.")
	c.Closer = true
	c.String = func(s *Spinner) string { return "Spinner<" + s.Label() + ">" }
	c.Fields = []*api.Field{
		api.Property("elapsed", "seconds since the beginning",
			func(s *Spinner) float64 { return s.Elapsed().Seconds() }),
	}
	begin := "local spinner = require(\"imd.term\").spinner(\"waiting\")\n"
	c.Methods = []*api.Func{
		api.Method("update", "Changes the text.",
			"label", func(_ *api.Call, s *Spinner, label string) { s.Update(nil, &label) },
			api.ParamDoc("label", "the new text"),
			api.Example(begin+`spinner:update("still waiting")`)),
		api.Method("finish", "Replaces the spinner by a line with the time that it took. Further "+
			"calls do nothing.",
			"text?", func(_ *api.Call, s *Spinner, text *string) { s.Finish(orEmpty(text)) },
			api.ParamDoc("text", "what the line says instead of the label"),
			api.Example(begin+`spinner:finish("ready")`)),
	}
	return c
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func update(c *api.Call, b *Bar, value float64, label *string) error {
	if err := finite(c, value); err != nil {
		return err
	}
	b.Update(&value, label)
	return nil
}

func add(c *api.Call, b *Bar, n *float64) error {
	by := 1.0
	if n != nil {
		by = *n
	}
	if err := finite(c, by); err != nil {
		return err
	}
	b.Add(by)
	return nil
}

func finite(c *api.Call, v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return c.ArgError(1, "a finite number expected")
	}
	return nil
}
