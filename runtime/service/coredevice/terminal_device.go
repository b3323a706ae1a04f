package coredevice

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/processes"
)

const (
	// maxTerminals bounds the number of open terminals.
	maxTerminals = 256
	// maxTyped bounds the input that waits until an app reads it. Further input is
	// lost, as with a real terminal.
	maxTyped = 64 << 10
	// maxLine bounds the length of a line. The rest of a longer line counts as the next
	// line.
	maxLine = 1024
	// hangUpTimeout is how long the device waits for the host to disconnect after the
	// app has ended.
	hangUpTimeout = 5 * time.Second
)

// terminals holds the open terminals. The app service attaches them to apps.
type terminals struct {
	mu   sync.Mutex
	byID map[xpc.UUID]*terminal
}

// terminal is the device side of one terminal.
type terminal struct {
	id       xpc.UUID
	attached chan attachment // capacity 1
	taken    bool            // by a launch; guarded by terminals.mu
}

// attachment is the process that is attached to a terminal, and the streams of the
// process that the terminal carries.
type attachment struct {
	watch         *processes.Watch // watches the process from its start
	pid           int
	input, output bool
}

func (t *terminals) open() (*terminal, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= maxTerminals {
		return nil, errors.New("too many terminals are open")
	}
	if t.byID == nil {
		t.byID = map[xpc.UUID]*terminal{}
	}
	n := &terminal{id: link.UUID(nil), attached: make(chan attachment, 1)}
	t.byID[n.id] = n
	return n, nil
}

// close removes a terminal. If a launch has just attached it, close ends the watch.
func (t *terminals) close(n *terminal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, n.id)
	select {
	case a := <-n.attached:
		a.watch.Close()
	default:
	}
}

// claim holds the terminals that a launch has named, until it is known whether the
// launch succeeds.
type claim struct {
	of   *terminals
	ends map[*terminal]*attachment
}

// claim takes the terminals that an input names. The watch of the processes begins
// here, so that no output of the new process is missed.
func (t *terminals) claim(p *phone.Phone, in *input) (*claim, error) {
	c := &claim{of: t, ends: map[*terminal]*attachment{}}
	ids := &input{first: in.first}
	if !in.absent(keyStandardIO) {
		ids = in.sub(keyStandardIO)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := map[xpc.UUID]*terminal{}
	for _, key := range []string{keyStandardIn, keyStandardOut, keyStandardErr} {
		if ids.absent(key) {
			continue
		}
		id := need(ids, key, "UUID", ids.uuid)
		n := taken[id]
		if n == nil && in.err() == nil {
			n = t.byID[id]
			if n == nil || n.taken {
				c.drop()
				return nil, refuse(DomainAction, actionFailed,
					"There is no standard I/O socket with the identifier "+id.String()+".")
			}
			n.taken = true
			taken[id], c.ends[n] = n, &attachment{watch: p.Processes.Watch()}
		}
		if n != nil && key == keyStandardIn {
			c.ends[n].input = true
		} else if n != nil {
			c.ends[n].output = c.ends[n].output || key == keyStandardOut ||
				ids.absent(keyStandardOut)
		}
	}
	if err := in.err(); err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

// uuid reads an identifier, either as a UUID or in text form.
func (in *input) uuid(key string) (xpc.UUID, bool) {
	if s, ok := in.d.String(key); ok {
		u, err := xpc.ParseUUID(s)
		return u, err == nil
	}
	return in.d.UUID(key)
}

// attach connects the terminals to a process.
func (c *claim) attach(proc processes.Process) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	for n, a := range c.ends {
		if c.of.byID[n.id] != n {
			continue // the host has disconnected in the meantime
		}
		a.pid = proc.PID
		n.attached <- *a
		delete(c.ends, n)
	}
}

// release gives back the terminals that were not attached.
func (c *claim) release() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.drop()
}

// drop does the work of release. The caller holds the lock.
func (c *claim) drop() {
	for n, a := range c.ends {
		n.taken = false
		a.watch.Close()
		delete(c.ends, n)
	}
}

// serveTerminal serves one connection to openstdiosocket until the app has ended or the
// host disconnects. Neither is an error.
func (d *Device) serveTerminal(ctx context.Context, c net.Conn) error {
	n, err := d.terminals.open()
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	defer d.terminals.close(n)
	release := link.GuardWrite(ctx, c)
	_, err = c.Write(n.id[:]) // in one write, because go-ios reads only once
	if release(err) != nil {
		return ctx.Err()
	}
	k := &keyboard{phone: d.Phone, pid: -1}
	up, hangUp := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer hangUp()
		k.read(up, c)
	})
	defer wg.Wait()
	defer hangUp()
	select {
	case a := <-n.attached:
		defer a.watch.Close()
		if a.input {
			k.attach(a.pid)
		}
		show(up, c, a)
	case <-up.Done():
	}
	return ctx.Err()
}

// show sends the output of a process until the process or ctx ends.
func show(ctx context.Context, c net.Conn, a attachment) {
	for {
		e, err := a.watch.Next(ctx)
		if err != nil {
			return
		}
		switch {
		case e.Process.PID != a.pid:
		case e.Kind == processes.Output && a.output:
			release := link.GuardWrite(ctx, c)
			_, err := c.Write([]byte(e.Text))
			if release(err) != nil {
				return
			}
		case e.Kind == processes.Ended:
			_ = link.CloseWrite(c)
			select { // the last output must not be lost with the connection
			case <-ctx.Done():
			case <-time.After(hangUpTimeout):
			}
			return
		}
	}
}

// keyboard collects the input that the host sends.
type keyboard struct {
	phone *phone.Phone

	mu    sync.Mutex
	pid   int // process that reads the input; -1 if there is none yet
	typed []byte
}

// read reads input until the host disconnects.
func (k *keyboard) read(ctx context.Context, c net.Conn) {
	buf := make([]byte, 4096)
	for {
		release := link.GuardRead(ctx, c)
		n, err := c.Read(buf)
		err = release(err)
		k.mu.Lock()
		k.typed = append(k.typed, buf[:min(n, maxTyped-len(k.typed))]...)
		k.hand()
		k.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (k *keyboard) attach(pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pid = pid
	k.hand()
}

// hand passes complete lines to the process. The caller holds mu.
func (k *keyboard) hand() {
	for k.pid >= 0 {
		n := bytes.IndexByte(k.typed, '\n') + 1
		if (n == 0 || n > maxLine) && len(k.typed) >= maxLine {
			n = maxLine
		}
		if n == 0 {
			return
		}
		_ = k.phone.Processes.Input(k.pid, string(k.typed[:n])) // fails if it has ended
		k.typed = k.typed[n:]
	}
}
