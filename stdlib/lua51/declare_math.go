package lua51

import (
	"math"

	"github.com/imdlua/imdlua/runtime/host/api"
)

func mathLibrary() *api.Module {
	words := glossary{
		"x": "a number", "y": "a number", "angle": "in radians", "degrees": "in degrees",
		"...": "numbers",
	}
	return &api.Module{
		Name: "math",
		Doc: "Mathematics. Numbers are floating point numbers of 64 bits. Integers are exact up " +
			"to 2^53; int64 makes larger exact ones.",
		Perm: "none",
		Consts: []api.Const{
			{Name: "huge", Doc: "Infinity. As a timeout it means no limit.",
				Value: math.Inf(1)},
			{Name: "pi", Doc: "The number pi.", Value: math.Pi},
		},
		Funcs: words.explain(mathNumbers(), mathPowers(), mathAngles(), mathRandoms()),
	}
}

func mathNumbers() []*api.Func {
	return []*api.Func{
		function("abs", "x:number -> number", "The number without its sign.",
			`return math.abs(-3) -- => 3`),
		function("ceil", "x:number -> number", "The next integer that is not smaller.",
			`return math.ceil(1.2), math.ceil(-1.2) -- => 2, -1`),
		function("floor", "x:number -> number", "The next integer that is not larger.",
			`return math.floor(1.8), math.floor(-1.2) -- => 1, -2`),
		function("fmod", "x:number y:number -> number",
			"The remainder of x / y with the sign of x. The result of x % y has the sign of y.",
			`return math.fmod(-5, 3), -5 % 3 -- => -2, 1`),
		function("frexp", "x:number -> number fraction, integer exponent",
			"Splits a number: x is fraction * 2^exponent, and the fraction is 0.5 to 1.",
			`return math.frexp(8) -- => 0.5, 4`),
		function("ldexp", "fraction:number exponent:integer -> number",
			"Computes fraction * 2^exponent.",
			`return math.ldexp(0.5, 4) -- => 8`,
			api.ParamDoc("fraction", "a number"), api.ParamDoc("exponent", "an integer")),
		function("max", "x:number ...:number -> number", "The largest of its arguments.",
			`return math.max(1, 5, 3) -- => 5`),
		function("min", "x:number ...:number -> number", "The smallest of its arguments.",
			`return math.min(1, 5, 3) -- => 1`),
		function("mod", "x:number y:number -> number", "The same as fmod.",
			`return math.mod(7, 4) -- => 3`, api.Deprecated("math.fmod")),
		function("modf", "x:number -> number whole, number fraction",
			"The parts of a number before and after the point, both with its sign.",
			`return math.modf(-1.5) -- => -1, -0.5`),
	}
}

func mathPowers() []*api.Func {
	return []*api.Func{
		function("exp", "x:number -> number", "e to the power of x.",
			`return math.exp(0) -- => 1`),
		function("log", "x:number base?:number -> number",
			"The natural logarithm of x, or that to a base, as in Lua 5.2.",
			`return math.log(1), math.log(8, 2) -- => 0, 3`,
			api.ParamDoc("base", "the base, e if not given")),
		function("log10", "x:number -> number", "The logarithm of x to the base 10.",
			`return math.log10(1000) -- => 3`),
		function("pow", "x:number y:number -> number", "x to the power of y, as x ^ y.",
			`return math.pow(2, 10) -- => 1024`),
		function("sqrt", "x:number -> number",
			"The square root of x; not a number (nan) when x is negative.",
			`return math.sqrt(16) -- => 4`),
	}
}

func mathAngles() []*api.Func {
	return []*api.Func{
		function("acos", "x:number -> number", "The angle whose cosine is x.",
			`return math.acos(1) -- => 0`),
		function("asin", "x:number -> number", "The angle whose sine is x.",
			`return math.asin(0) -- => 0`),
		function("atan", "x:number -> number", "The angle whose tangent is x.",
			`return math.atan(0) -- => 0`),
		function("atan2", "y:number x:number -> number",
			"The angle of the point (x, y), from -pi to pi.",
			`return math.deg(math.atan2(1, 0)) -- => 90`),
		function("cos", "angle:number -> number", "The cosine of an angle.",
			`return math.cos(0) -- => 1`),
		function("cosh", "x:number -> number", "The hyperbolic cosine of x.",
			`return math.cosh(0) -- => 1`),
		function("deg", "angle:number -> number", "Turns radians into degrees.",
			`return math.deg(math.pi) -- => 180`),
		function("rad", "degrees:number -> number", "Turns degrees into radians.",
			`return math.rad(180) == math.pi -- => true`),
		function("sin", "angle:number -> number", "The sine of an angle.",
			`return math.sin(0) -- => 0`),
		function("sinh", "x:number -> number", "The hyperbolic sine of x.",
			`return math.sinh(0) -- => 0`),
		function("tan", "angle:number -> number", "The tangent of an angle.",
			`return math.tan(0) -- => 0`),
		function("tanh", "x:number -> number", "The hyperbolic tangent of x.",
			`return math.tanh(0) -- => 0`),
	}
}

func mathRandoms() []*api.Func {
	return []*api.Func{
		function("random", "low?:integer high?:integer -> number",
			"Returns a random number. Without arguments it is at least 0 and less than 1; with "+
				"one it is an integer from 1 to it; with two, an integer from low to high, "+
				"2^53 at most. The numbers are different in each run, unless the script calls "+
				"randomseed.",
			`local n = math.random(6)
return n >= 1 and n <= 6, math.random(3, 3) -- => true, 3`,
			api.ParamDoc("low", "smallest integer, or the largest if it is alone"),
			api.ParamDoc("high", "largest integer")),
		function("randomseed", "x:number",
			"Sets the seed of random: the same x leads to the same numbers.",
			`math.randomseed(42)
local a = math.random(1000)
math.randomseed(42)
return math.random(1000) == a -- => true`),
	}
}
