package iter

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
)

func class() *api.Class {
	c := api.NewClass[*Iterator]("Iterator", "A source of elements, or a step that takes them "+
		"from another one: `for x in it do ... end`. Several steps that "+
		"are made of one iterator share its elements: each element goes to one of them.")
	c.Var = "it"
	c.Next = lua.LGFunction(step)
	c.String = func(it *Iterator) string { return "Iterator<" + it.name + ">" }
	c.Methods = append(c.Methods, steps()...)
	c.Methods = append(c.Methods, orders()...)
	c.Methods = append(c.Methods, results()...)
	c.Methods = append(c.Methods, answers()...)
	return c
}

const (
	fnDoc  = "called with the values of each element"
	keyDoc = "called with the values of each element; its result is used. Without fn, the first " +
		"value of the element is used"
)

// method declares a method. example is the text that follows "return iter.".
func method(name, doc, params string, fn any, example string, more ...api.Option) *api.Func {
	more = append(more, api.Example("local iter = require(\"imd.iter\")\nreturn iter."+example))
	return api.Method(name, doc, params, fn, more...)
}

// steps returns the methods that make another iterator.
func steps() []*api.Func {
	fn := api.ParamDoc("fn", fnDoc)
	others := api.ParamDoc("others", "more sources, as iter.from takes them")
	return []*api.Func{
		method("map", "What fn returns for each element, which may be several values. nil becomes "+
			"null.",
			"fn", mapEach, `range(3):map(function(x) return x * x end):collect() -- => { 1, 4, 9 }`,
			fn),
		method(
			"filter",
			"The elements for which fn returns a true value.",
			"fn",
			filter,
			`range(4):filter(function(x) return x % 2 == 0 end):collect() -- => { 2, 4 }`,
			fn,
		),
		method("take", "The first n elements. No further element is read.",
			"n", take, `range(math.huge):take(2):collect() -- => { 1, 2 }`,
			api.ParamDoc("n", "how many elements")),
		method("drop", "All elements but the first n.",
			"n", drop, `range(4):drop(2):collect() -- => { 3, 4 }`,
			api.ParamDoc("n", "how many elements")),
		method(
			"take_while",
			"The elements before the first one for which fn returns false or "+
				"nil. That one is taken from the source as well.",
			"fn",
			takeWhile,
			`range(9):take_while(function(x) return x < 3 end):collect() -- => { 1, 2 }`,
			fn,
		),
		method(
			"drop_while",
			"The elements that begin with the first one for which fn returns false or nil.",
			"fn",
			dropWhile,
			`range(4):drop_while(function(x) return x < 3 end):collect() -- => { 3, 4 }`,
			fn,
		),
		method(
			"enumerate",
			"Puts a number before the values of each element.",
			"first?",
			enumerate,
			`of("a", "b"):enumerate():collect() -- => { { 1, "a" }, { 2, "b" } }`,
			api.ParamDoc("first", "the first number, 1 if it is not given"),
		),
		method(
			"zip",
			"Elements with one value of each source. It ends with the shortest of them.",
			"others...",
			zip,
			`of(1, 2, 3):zip({ "a", "b" }):collect() -- => { { 1, "a" }, { 2, "b" } }`,
			others,
		),
		method("chain", "The elements of this iterator, then those of the others.",
			"others...", chain, `of(1):chain({ 2, 3 }):collect() -- => { 1, 2, 3 }`, others),
		method("flatten", "Replaces each element that is a list or an iterator by its elements. "+
			"Other elements stay as they are, and so do lists inside of these lists.",
			"", flatten, `of(1, { 2, { 3 } }):flatten():collect() -- => { 1, 2, { 3 } }`),
	}
}

// orders returns the methods that group or sort elements.
func orders() []*api.Func {
	size := api.ParamDoc("n", "length of each list")
	return []*api.Func{
		method("chunks", "Lists of n elements. The last one may be shorter.",
			"n", chunks, `range(3):chunks(2):collect() -- => { { 1, 2 }, { 3 } }`, size),
		method("window", "Lists of n elements that begin at the first element, at the second one, "+
			"and so on.",
			"n", window, `range(4):window(3):collect() -- => { { 1, 2, 3 }, { 2, 3, 4 } }`, size),
		method(
			"group_by",
			"Groups the elements by what fn returns for them. An element of the "+
				"result is a value that fn returned and the list of its elements; the order is "+
				"that of their first elements. Reads the whole source.",
			"fn",
			groupBy,
			`range(3):group_by(function(x) return x > 1 end):first() -- => false, { 1 }`,
			api.ParamDoc("fn", fnDoc),
			api.Raises("value"),
		),
		method("unique", "The elements whose first value did not occur before. All values that "+
			"have occurred are kept in memory.",
			"fn?", unique, `of(1, 2, 1):unique():collect() -- => { 1, 2 }`,
			api.ParamDoc("fn", keyDoc)),
		method("sorted", "The elements in order of their first values. Elements that are equal "+
			"keep their order. Reads the whole source.",
			"less?", sorted, `of(3, 1, 2):sorted():collect() -- => { 1, 2, 3 }`,
			api.ParamDoc("less", "called with two elements; true if the first comes first")),
		method("tee", "Several iterators, each of which has all elements. Elements are kept "+
			"until all iterators have taken them.",
			"n?", tee, `range(2):tee() -- a, b`,
			api.ParamDoc("n", "how many iterators, 2 if it is not given"),
			api.Returns("Iterator ...")),
	}
}

// results returns the methods that read all elements.
func results() []*api.Func {
	return []*api.Func{
		method("collect", "A list of the elements. An element of several values becomes a list.",
			"", collect, `from({ a = 1 }):collect() -- => { { "a", 1 } }`,
			api.Returns("table list")),
		method("to_dict", "A table of the elements, each of which is a key and a value.",
			"fn?", toDict,
			`of("a", "bb"):to_dict(function(s) return s, #s end) -- => { a = 1, bb = 2 }`,
			api.ParamDoc("fn", "returns the key and the value of an element"), api.Raises("value")),
		method(
			"partition",
			"Two lists: the elements for which fn returns a true value, and the "+
				"others.",
			"fn",
			partition,
			`range(3):partition(function(x) return x > 1 end) -- => { 2, 3 }, { 1 }`,
			api.ParamDoc("fn", fnDoc),
			api.Returns("table yes", "table no"),
		),
		method("fold", "Combines all elements to one value: fn gets the result so far and the "+
			"values of an element.",
			"fn initial?", fold, `range(4):fold(function(a, x) return a * x end) -- => 24`,
			api.ParamDoc("fn", "called with the result so far and the values of an element"),
			api.ParamDoc("initial", "the first result; the first element if it is not given")),
		method("each", "Calls fn for each element.",
			"fn", each, `of(1):each(print)`, api.ParamDoc("fn", fnDoc)),
		method("close", "Ends the chain, and closes its sources that can be closed.",
			"", closeChain, `from(fs.lines(fs.temp_file())):close()`),
	}
}

// answers returns the methods that return one element, or a value computed from the elements.
func answers() []*api.Func {
	key := api.ParamDoc("fn", keyDoc)
	return []*api.Func{
		method("sum", "The sum of all elements, 0 if there is none.",
			"fn?", sum, `range(4):sum() -- => 10`, key, api.Raises("value")),
		method("min", "The smallest element, nil if there is none.",
			"fn?", least, `of("bb", "a"):min(function(s) return #s end) -- => "a"`, key),
		method("max", "The largest element, nil if there is none.",
			"fn?", greatest, `of(1, 3, 2):max() -- => 3`, key),
		method("any", "Whether any element is true. Stops at the first one.",
			"fn?", anyOf, `of(false, true):any() -- => true`, key),
		method("all", "Whether all elements are true. Stops at the first one that is not.",
			"fn?", allOf, `range(3):all(function(x) return x < 3 end) -- => false`, key),
		method("count", "How many elements there are, or for how many fn returns a true value.",
			"fn?", count, `range(3):count(function(x) return x > 1 end) -- => 2`,
			api.ParamDoc("fn", fnDoc)),
		method("find", "The first element for which fn returns a true value, nil if there is "+
			"none. Stops at that element.",
			"fn", find, `range(9):find(function(x) return x > 3 end) -- => 4`,
			api.ParamDoc("fn", fnDoc)),
		method("first", "Takes the next element. Returns nil if there is none.",
			"", next, `range(3):first() -- => 1`),
		method("next", "Takes the next element, as a for loop does. Returns nil at the end.",
			"", next, `from({ a = 1 }):next() -- => "a", 1`),
		method("last", "The last element, nil if there is none.",
			"", last, `range(3):last() -- => 3`),
	}
}
