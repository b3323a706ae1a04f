package lua51

import (
	"math"
	"math/rand/v2"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// openMath opens the math library. Each host has a random generator of its own.
func openMath(h *host.Host) {
	funcs := map[string]lua.LGFunction{
		"atan2": mathOfTwo(math.Atan2), "pow": mathOfTwo(math.Pow), "fmod": mathOfTwo(math.Mod),
		"mod": mathOfTwo(math.Mod), "frexp": mathFrexp, "ldexp": mathLdexp, "log": mathLog,
		"modf": mathModf, "max": mathMax, "min": mathMin,
	}
	for name, f := range map[string]func(float64) float64{
		"abs": math.Abs, "acos": math.Acos, "asin": math.Asin, "atan": math.Atan,
		"ceil": math.Ceil, "cos": math.Cos, "cosh": math.Cosh, "deg": degrees, "exp": math.Exp,
		"floor": math.Floor, "log10": math.Log10, "rad": radians, "sin": math.Sin,
		"sinh": math.Sinh, "sqrt": math.Sqrt, "tan": math.Tan, "tanh": math.Tanh,
	} {
		funcs[name] = mathOfOne(f)
	}
	source := rand.NewPCG(rand.Uint64(), rand.Uint64())
	generator := rand.New(source)
	funcs["random"] = func(L *lua.LState) int { return mathRandom(L, generator) }
	funcs["randomseed"] = func(L *lua.LState) int {
		source.Seed(math.Float64bits(numberArg(L, 1)), 0)
		return 0
	}
	t := h.Functions(funcs)
	t.RawSetString("pi", lua.LNumber(math.Pi))
	t.RawSetString("huge", lua.LNumber(math.Inf(1)))
	h.SetLibrary("math", t)
}

func mathOfOne(f func(float64) float64) lua.LGFunction {
	return func(L *lua.LState) int {
		L.Push(lua.LNumber(f(numberArg(L, 1))))
		return 1
	}
}

func mathOfTwo(f func(a, b float64) float64) lua.LGFunction {
	return func(L *lua.LState) int {
		a, b := numberArg(L, 1), numberArg(L, 2)
		L.Push(lua.LNumber(f(a, b)))
		return 1
	}
}

const degreesPerRadian = 180 / math.Pi

func degrees(x float64) float64 { return x * degreesPerRadian }

func radians(x float64) float64 { return x * (math.Pi / 180) }

func mathFrexp(L *lua.LState) int {
	fraction, exponent := math.Frexp(numberArg(L, 1))
	L.Push(lua.LNumber(fraction))
	L.Push(lua.LNumber(exponent))
	return 2
}

func mathLdexp(L *lua.LState) int {
	fraction, exponent := numberArg(L, 1), integerArg(L, 2)
	L.Push(lua.LNumber(math.Ldexp(fraction, exponent)))
	return 1
}

// mathLog has the base as an optional second argument, as in Lua 5.2.
func mathLog(L *lua.LState) int {
	x := numberArg(L, 1)
	if L.Get(2) == lua.LNil {
		L.Push(lua.LNumber(math.Log(x)))
		return 1
	}
	result := 0.0
	switch base := numberArg(L, 2); base {
	case 2:
		result = math.Log2(x)
	case 10:
		result = math.Log10(x)
	default:
		result = math.Log(x) / math.Log(base)
	}
	L.Push(lua.LNumber(result))
	return 1
}

func mathModf(L *lua.LState) int {
	x := numberArg(L, 1)
	whole, fraction := math.Modf(x)
	if math.IsInf(x, 0) {
		whole, fraction = x, math.Copysign(0, x)
	}
	L.Push(lua.LNumber(whole))
	L.Push(lua.LNumber(fraction))
	return 2
}

func mathMax(L *lua.LState) int {
	return pick(L, func(candidate, best float64) bool { return candidate > best })
}

func mathMin(L *lua.LState) int {
	return pick(L, func(candidate, best float64) bool { return candidate < best })
}

// pick pushes the argument that is better than all others.
func pick(L *lua.LState, better func(candidate, best float64) bool) int {
	best := numberArg(L, 1)
	for i := 2; i <= L.GetTop(); i++ {
		candidate := numberArg(L, i)
		if better(candidate, best) {
			best = candidate
		}
	}
	L.Push(lua.LNumber(best))
	return 1
}

// mathRandom is random(), random(high) and random(low, high). The fractions of the bounds are
// dropped. All integers up to 2^53 can be returned.
func mathRandom(L *lua.LState, generator *rand.Rand) int {
	low, high, last := 1.0, 0.0, 1
	switch L.GetTop() {
	case 0:
		L.Push(lua.LNumber(generator.Float64()))
		return 1
	case 1:
		high = math.Floor(numberArg(L, 1))
	case 2:
		low, high, last = math.Floor(numberArg(L, 1)), math.Floor(numberArg(L, 2)), 2
	default:
		L.RaiseError("wrong number of arguments")
	}
	const most = 1 << 53
	if !(low <= high) || low < -most || high > most || high-low >= most {
		L.ArgError(last, "interval is empty")
	}
	L.Push(lua.LNumber(low + float64(generator.Int64N(int64(high-low)+1))))
	return 1
}
