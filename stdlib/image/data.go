package image

import (
	"context"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/picture"
)

// dataMethods returns methods of Data that work on the file of a picture.
func dataMethods() []*api.Func {
	var out []*api.Func
	for _, m := range []struct{ name, doc, params, returns, example string }{
		{"string", "Returns the file of the picture as a string, see encode.", "",
			"string file", `return p:string():sub(2, 4) -- => "PNG"`},
		{"hex", "Returns the file of the picture as hexadecimal digits.", "",
			"string digits", `return p:hex():sub(1, 8) -- => "89504e47"`},
		{"base64", "Returns the file of the picture in base64.", "",
			"string text", `return p:base64():sub(1, 4) -- => "iVBO"`},
		{"sub", "Returns a part of the bytes of the file, as string.sub does.",
			"first:integer last?:integer", "Data part", `return p:sub(2, 4):string() -- => "PNG"`},
		{"byte", "Returns bytes of the file as numbers, as string.byte does.",
			"first?:integer last?:integer", "integer ...", `return p:byte(1) -- => 137`},
	} {
		raw := func(L *lua.LState) int {
			return asData(L, m.name, fileOf(L, api.Self[*picture.Picture](L)))
		}
		var options []api.Option
		if m.params != "" {
			options = append(options,
				api.ParamDoc("first", "position of the first byte"),
				api.ParamDoc("last", "position of the last byte"))
		}
		options = append(options, api.Returns(m.returns), api.Example(example+m.example))
		out = append(out, api.RawMethod(m.name, m.doc, m.params, raw, options...))
	}
	return out
}

// fileOf returns the file of a picture. A picture that has none is encoded as PNG.
func fileOf(L *lua.LState, p *picture.Picture) []byte {
	if b := p.Source(); b != nil {
		return b
	}
	var b []byte
	block(L, p.Pending()+area(p), func(ctx context.Context) (err error) {
		b, err = p.Encode(ctx, "png", 0)
		return err
	})
	return b
}

// block does what run does for code that has no Call. It raises the error of f.
func block(L *lua.LState, bytes int, f func(ctx context.Context) error) {
	top := L.GetTop()
	hold(L, bytes)
	err := host.TryWithTimeout(L, host.NoTimeout, func(ctx context.Context) error {
		return promptly(ctx, f)
	})
	L.SetTop(top)
	if err != nil {
		host.Raise(L, raised(err))
	}
}

// equal is the metamethod __eq.
func equal(L *lua.LState) int {
	a, okA := api.To[*picture.Picture](L.Get(1))
	b, okB := api.To[*picture.Picture](L.Get(2))
	same := okA && okB
	if same && a != b {
		block(L, a.Pending()+b.Pending(), func(ctx context.Context) (err error) {
			same, err = picture.Equal(ctx, a, b)
			return err
		})
	}
	L.Push(lua.LBool(same))
	return 1
}

// length is the metamethod __len. It returns the size of the file, as for Data.
func length(L *lua.LState) int {
	p, _ := api.To[*picture.Picture](L.Get(1))
	L.Push(lua.LNumber(len(fileOf(L, p))))
	return 1
}

// concat is the metamethod __concat. It joins the bytes of the file with others, as for Data.
func concat(L *lua.LState) int {
	var joined []byte
	for i := 1; i <= 2; i++ {
		b, ok := host.Bytes(L.Get(i))
		if p, isPicture := api.To[*picture.Picture](L.Get(i)); isPicture {
			b, ok = fileOf(L, p), true
		}
		if !ok {
			L.RaiseError("a Picture can be concatenated with Data and strings only")
		}
		joined = append(joined, b...)
	}
	L.Push(host.Of(L).Data(joined))
	return 1
}
