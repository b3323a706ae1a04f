// Package host runs Lua scripts: one Lua state, one interpreter lock, tasks,
// scopes, errors, limits, modules, and the conversion of values between Go and
// Lua. It knows nothing of devices.
//
// A run looks like this:
//
//	h := host.New(host.Options{Stdout: os.Stdout, Stderr: os.Stderr})
//	defer h.Close()
//	h.SetGlobal("answer", lua.LNumber(42))
//	err := h.Run(ctx, "smoke.lua", source)
//	if err != nil {
//		h.Report(os.Stderr, err)
//	}
//	os.Exit(host.ExitCode(err))
//
// # Files
//
// The name of a file begins with its subject:
//
//	state    the Host: options, a run, the lock, interactive runs, output,
//	         progress, memory, strict globals
//	hook     counts instructions; cancels scripts and switches between tasks
//	task     tasks, their threads, coroutines, and waiting for each other
//	scope    scopes, which own resources and close them
//	block    the only way to wait
//	access   permission to use something outside of the script
//	error    error objects, reports, tracebacks
//	module   require, and compiling
//	value    conversion between Go and Lua, and the printer
//	lib      Lua's own libraries
//
// The host uses packages that do not depend on it: compile (source to
// prototype), vm (the stack and the registers of a thread), luanum (numbers as
// text), localfile (files that a caller can give up on), visible (makes text from
// outside safe for a terminal). Package api, which declares functions for
// scripts, uses the host.
//
// # Rules
//
// gopher-lua is not safe for concurrent use, and a coroutine that yields inside
// pcall, an iterator or a metamethod breaks it. So scripts block, they never
// yield to a scheduler:
//
//  1. Only the holder of the interpreter lock touches an *lua.LState, a table, a
//     userdata or a function. "Just reading" is touching.
//  2. A binding that waits does so inside [Block] or one of its variants. They are
//     the only place that releases the lock and the only source of a context. The
//     function that they run must not use Lua values: convert arguments before the
//     call and results after it.
//  3. A task is a Lua thread on a goroutine of its own. The lock is handed over in
//     the order in which tasks ask for it, so the order in which tasks run is
//     predictable. Tasks switch in blocking calls only, with one exception: a task
//     that has computed for 10 ms while others waited. [Atomic] turns the
//     exception off.
//  4. Go code never calls Lua from a goroutine that is not the task's own.
//     Callbacks fill a bounded queue that Lua reads.
//  5. (*lua.LState).Context is the instruction hook, not a context for Go code:
//     a call of its Done counts an instruction and may raise.
//  6. Every thread must be made by this package, because the host finds the task
//     of a thread through its hook.
//  7. A function whose errors are caught runs on a thread of its own. With the
//     stock pcall, a caught error disconnects the caller's locals from the
//     closures over them (gopher-lua issue 448).
//  8. Cancellation is sticky: pcall may catch it, but the next instruction raises
//     it again until the thread is unwound. Scopes then close under a fresh grace
//     context, because no Lua could run under the cancelled one.
//  9. A task that waits only for other Lua code waits in a [Waiter], so that the
//     host can tell when no task is left that could end the wait.
//  10. A blocking function adds a resource to its scope as soon as it has opened
//     it, not after it returns: if the task is cancelled at the moment of the
//     return, the result is lost.
package host
