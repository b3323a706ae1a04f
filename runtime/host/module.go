package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/imdlua/imdlua/runtime/host/localfile"
	lua "github.com/yuin/gopher-lua"
)

// modules is the state of require.
type modules struct {
	dir        string            // of the script
	packages   *lua.LTable       // the global package
	loaded     *lua.LTable       // package.loaded
	preload    *lua.LTable       // package.preload
	sources    map[string]string // modules written in Lua, by name
	loading    map[string]*loading
	ipairsNext *lua.LFunction
	tostring   *lua.LFunction // the original; print calls ToString in its place
}

// loading is a module whose chunk is running.
type loading struct {
	task    *Task
	waiters []*Waiter
}

func (h *Host) openModules() {
	m := &h.modules
	m.loaded, m.preload = h.root.CreateTable(0, 16), h.root.CreateTable(0, 16)
	m.sources, m.loading = map[string]string{}, map[string]*loading{}
	m.ipairsNext = h.root.NewFunction(ipairsNext)
	m.dir = "."
	pkg := h.root.CreateTable(0, 4)
	m.packages = pkg
	pkg.RawSetString("loaded", m.loaded)
	pkg.RawSetString("preload", m.preload)
	pkg.RawSetString("path", lua.LString(strings.Join(h.o.SearchPath, ";")))
	pkg.RawSetString("config", lua.LString("/\n;\n?\n!\n-\n"))
	h.globals.RawSetString("package", pkg)
	h.globals.RawSetString("require", h.root.NewFunction(h.baseRequire))
	for _, name := range []string{"string", "table", "coroutine"} {
		m.loaded.RawSetString(name, h.globals.RawGetString(name))
	}
}

// Preload registers a module made in Go. require calls loader once, with the name
// of the module, and keeps its result.
func (h *Host) Preload(name string, loader lua.LGFunction) {
	h.modules.preload.RawSetString(name, h.root.NewFunction(loader))
}

// PreloadSource registers a module written in Lua. It is compiled when it is
// first required. Its frames are left out of tracebacks.
func (h *Host) PreloadSource(name, source string) { h.modules.sources[name] = source }

// Modules lists the names that Preload and PreloadSource have registered.
func (h *Host) Modules() []string {
	names := sortedKeys(h.modules.sources)
	h.modules.preload.ForEach(func(k, _ lua.LValue) { names = append(names, k.String()) })
	return names
}

func (h *Host) baseRequire(L *lua.LState) int {
	name := L.CheckString(1)
	m := &h.modules
	task := hookOf(L).task
	for {
		if v := m.loaded.RawGetString(name); lua.LVAsBool(v) {
			L.Push(v)
			return 1
		}
		busy := m.loading[name]
		if busy == nil {
			break
		}
		if busy.task == task {
			Raise(L, Errorf("module", "loop while loading module '%s'", name))
		}
		w := NewWaiter(L)
		busy.waiters = append(busy.waiters, w)
		w.Wait(L, "require "+name, NoTimeout)
	}
	l := &loading{task: task}
	m.loading[name] = l
	// A module that fails may be tried again.
	defer func() {
		delete(m.loading, name)
		for _, w := range l.waiters {
			w.Wake()
		}
	}()
	fn := h.findModule(L, name)
	v := Call(L, fn, 1, lua.LString(name))[0]
	if v == lua.LNil {
		v = m.loaded.RawGetString(name)
	}
	if v == lua.LNil {
		v = lua.LTrue
	}
	m.loaded.RawSetString(name, v)
	L.Push(v)
	return 1
}

// findModule returns the function that loads a module: a loader of package.preload
// or the chunk of the module.
func (h *Host) findModule(L *lua.LState, name string) *lua.LFunction {
	m := &h.modules
	if fn, ok := m.preload.RawGetString(name).(*lua.LFunction); ok {
		return fn
	}
	if src, ok := m.sources[name]; ok {
		return h.moduleChunk(L, embeddedPrefix+strings.TrimPrefix(name, "imd.")+".lua", src)
	}
	rel := filepath.FromSlash(strings.ReplaceAll(name, ".", "/"))
	if name == "" || strings.Contains(name, "..") || !filepath.IsLocal(rel) {
		Raise(L, Errorf("module", "bad module name '%s'", name))
	}
	var tried []string
	for _, path := range m.candidates(rel) {
		src, err := h.readSource(L, path)
		if err == nil {
			return h.moduleChunk(L, path, src)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			Raise(L, err)
		}
		tried = append(tried, path)
	}
	e := Errorf("module", "module '%s' not found", name)
	e.Hint = h.moduleHint(name)
	if e.Hint == "" {
		e.Hint = "looked for " + strings.Join(tried, ", ")
	} else if strings.HasPrefix(e.Hint, "did you mean") {
		e.Hint += " Looked for " + strings.Join(tried, ", ")
	}
	Raise(L, e)
	return nil
}

// candidates lists the files that may hold a module: in the folder of the script,
// and in the places of package.path. A place with a question mark is a file name,
// as in Lua 5.1. Any other place is tried as a folder and as a file.
func (m *modules) candidates(rel string) []string {
	in := func(dir string) []string {
		return []string{filepath.Join(dir, rel+".lua"), filepath.Join(dir, rel, "init.lua")}
	}
	out := in(m.dir)
	places, _ := m.packages.RawGetString("path").(lua.LString)
	for place := range strings.SplitSeq(string(places), ";") {
		switch {
		case place == "":
		case strings.Contains(place, "?"):
			out = append(out, filepath.Clean(strings.ReplaceAll(place, "?", rel)))
		default:
			out = append(append(out, in(place)...), place)
		}
	}
	return out
}

// moduleHint returns a hint about what to require instead of a module that does not
// exist, or "" if there is none.
func (h *Host) moduleHint(name string) string {
	if h.knowsModule("imd." + name) {
		hint := "write require \"imd." + name + "\""
		if h.globals.RawGetString(name) != lua.LNil {
			hint += "; " + name + " is a global as well"
		}
		return hint
	}
	if hint := moduleHints[strings.ToLower(name)]; hint != "" {
		return hint
	}
	known := h.Modules()
	if near := suggest(name, known); near != "" {
		return "did you mean " + near + "?"
	}
	for i := range known {
		known[i] = strings.TrimPrefix(known[i], "imd.")
	}
	if near := suggest(name, known); near != "" {
		return "did you mean imd." + near + "?"
	}
	return ""
}

// knowsModule reports whether Preload or PreloadSource has registered the name.
func (h *Host) knowsModule(name string) bool {
	_, isSource := h.modules.sources[name]
	return isSource || h.modules.preload.RawGetString(name) != lua.LNil
}

func (h *Host) moduleChunk(L *lua.LState, chunk, src string) *lua.LFunction {
	proto, err := h.compileFor(L, chunk, src)
	if err != nil {
		Raise(L, err)
	}
	return h.root.NewFunctionFromProto(proto)
}

// readSource reads a script file without the lock.
func (h *Host) readSource(L *lua.LState, path string) (string, error) {
	var src []byte
	if err := Allow(L, AccessRead, path); err != nil {
		return "", err
	}
	err := TryBlock(L, func(ctx context.Context) error {
		f, err := localfile.Open(ctx, path, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.IsDir() {
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return localfile.Do(ctx, f, func() error {
			src, err = localfile.ReadAll(ctx, f, path, 0, maxSource)
			return err
		})
	})
	return string(src), err
}
