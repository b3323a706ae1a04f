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
// # Rooms
//
// The name of a file begins with the room that it belongs to:
//
//	state    the Host: options, a run, the lock, sessions, output, progress,
//	         memory, strict globals
//	hook     the count of instructions, where a script is cancelled and switched
//	task     tasks, their threads, coroutines, and waiting for each other
//	scope    what owns resources and closes them
//	block    the only way to wait
//	access   what a script may use outside of itself
//	error    error objects, reports, tracebacks
//	module   require, and compiling
//	value    conversion between Go and Lua, and the printer
//	lib      Lua's own libraries
//
// Below stand packages that need nothing of the host: compile (source to
// prototype), vm (the stack and the registers of a thread), luanum (numbers as
// text), localfile (files that a caller can give up on), visible (text from
// outside, safe for a terminal). Package api, which declares functions for
// scripts, stands on top.
//
// # Rules
//
// gopher-lua is not safe for concurrent use, and a coroutine that yields inside
// pcall, an iterator or a metamethod breaks it. So scripts block, they never
// yield to a scheduler:
//
//  1. Only the holder of the interpreter lock touches an *lua.LState, a table, a
//     userdata or a function. "Just reading" is touching.
//  2. A binding that waits does so inside [Block] (or its relatives), the only
//     place that gives the lock up. Inside no Lua value may be used: convert
//     arguments before and results after. Block alone hands out a context.
//  3. A task is a Lua thread on a goroutine of its own. The lock is handed on in
//     the order in which it was asked for, so tasks run in an order that can be
//     explained. Tasks change in blocking calls; a task that computed for 10 ms
//     while others waited is the one exception, and [Atomic] turns it off.
//  4. Go code never calls Lua from a goroutine that is not the task's own.
//     Callbacks fill a bounded queue that Lua reads.
//  5. (*lua.LState).Context is the instruction hook, not a context for Go code:
//     asking it for Done counts an instruction and may raise.
//  6. Every thread must come from this package; its hook leads from the thread
//     to the task and the host.
//  7. A function that may fail and be caught runs on a thread of its own. With
//     the stock pcall a caught error cuts the caller's locals loose from the
//     closures over them (gopher-lua issue 448).
//  8. Cancellation is sticky: pcall may catch it, and the next instruction
//     raises again until the thread is unwound. Scopes then close under a fresh
//     grace context, for otherwise no Lua could run there any more.
//  9. What waits only for other Lua code waits in a [Waiter], so that the host
//     can tell when no task is left that could end the wait.
//  10. What is opened inside a blocking function is added to its scope there, not
//     afterwards: the task may be cancelled in the moment in which the function
//     returns, and its result is lost then.
package host
