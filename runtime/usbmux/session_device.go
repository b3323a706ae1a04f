package usbmux

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// eventQueue is how many frames may wait for a listener that does not read. A
	// listener with more is disconnected. When it connects again, it gets the present
	// state, which is more useful than old events.
	eventQueue = 1024
	// lingerTime is how long a connection that was closed here waits for the peer to
	// read the last bytes and close.
	lingerTime = time.Second
	// socketBuffer is the size of usbmuxd's buffers for clients' sockets.
	socketBuffer = 128 << 10
	// connectTimeout bounds the connection to a device that is somewhere else.
	connectTimeout = 10 * time.Second
	// acceptPause is the first pause after an accept that failed because descriptors or
	// memory were exhausted. The pauses grow up to maxAcceptPause.
	acceptPause, maxAcceptPause = 5 * time.Millisecond, time.Second
)

// Serve accepts connections from l until ctx ends, the Muxer is closed or l fails. In
// the first two cases it returns nil. When it returns, l and all connections from it
// are closed.
func (m *Muxer) Serve(ctx context.Context, l net.Listener) error {
	if !m.enter() {
		l.Close()
		return &Error{Op: "serve", Err: net.ErrClosed}
	}
	defer m.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(m.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer l.Close()
	for delay := acceptPause; ; {
		free := m.admit(ctx)
		if free == nil {
			return nil
		}
		c, err := l.Accept()
		if err != nil {
			free()
		}
		switch {
		case err == nil:
			delay = acceptPause
			conns.Go(func() {
				defer free()
				m.ServeConn(ctx, c)
			})
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed) || !isTemporary(err):
			return &Error{Op: "serve", Err: err}
		default:
			m.log.WarnContext(ctx, "accept", "error", err)
			if link.Sleep(ctx, delay) != nil {
				return nil
			}
			delay = min(2*delay, maxAcceptPause)
		}
	}
}

// admit waits until there is room for another client, and returns the function that makes
// room again. It returns nil if ctx has ended.
func (m *Muxer) admit(ctx context.Context) (free func()) {
	if m.clients == nil {
		return func() {}
	}
	select {
	case m.clients <- struct{}{}:
		return func() { <-m.clients }
	case <-ctx.Done():
		return nil
	}
}

// isTemporary reports whether an accept error is temporary. Of the errors of an accept,
// the net package calls only those temporary that concern the resources of the process.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// enter counts a connection or accept loop that Close waits for.
func (m *Muxer) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.wg.Add(1)
	}
	return !m.closed
}

// ServeConn serves one client and closes c when it is done.
func (m *Muxer) ServeConn(ctx context.Context, c net.Conn) {
	defer c.Close()
	if !m.enter() {
		return
	}
	defer m.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	tune(c)
	s := &session{m: m, c: c, ctx: ctx}
	if err := s.run(); err != nil && err != io.EOF {
		m.log.DebugContext(ctx, "client gone", "error", err)
	}
	if ctx.Err() == nil {
		link.Linger(s.c, lingerTime)
	}
}

// tune prepares a socket for bulk transfers without delay. It does not set the buffers
// of TCP, which grow automatically as long as their size is not set.
func tune(c net.Conn) {
	switch t := c.(type) {
	case *net.TCPConn:
		_ = t.SetNoDelay(true)
	case *net.UnixConn:
		_ = t.SetReadBuffer(socketBuffer)
		_ = t.SetWriteBuffer(socketBuffer)
	}
}

// session is the state of one client. It takes commands until it becomes a listener or
// a pipe.
type session struct {
	m       *Muxer
	c       net.Conn
	ctx     context.Context
	version uint32 // the dialect; 1 from the first property list on

	// Set when the client starts to listen.
	out    outbox
	number int
	client plist.Dict // the client's description of itself
}

// errDone ends a session after the last answer to its client.
var errDone = errors.New("refused and closed")

func (s *session) run() error {
	for {
		f, err := s.read()
		var length *LengthError
		if errors.As(err, &length) {
			if f.version == versionPlist && f.message == msgPlist {
				s.version = versionPlist
			}
			return errors.Join(s.result(f.tag, BadCommand), err)
		}
		if err != nil {
			return err
		}
		next, err := s.handle(f)
		if err != nil {
			return err
		}
		if next != nil {
			return next()
		}
	}
}

// read reads the next request.
func (s *session) read() (frame, error) {
	if s.m.idle > 0 {
		ctx, cancel := context.WithTimeout(s.ctx, s.m.idle)
		defer cancel()
		release := link.GuardRead(ctx, s.c)
		f, err := readFrame(s.c, maxRequest)
		return f, release(err)
	}
	return readFrame(s.c, maxRequest)
}

// handle answers one frame. If a request changes the use of the connection, handle
// returns the function that continues.
func (s *session) handle(f frame) (next func() error, err error) {
	if f.version > versionPlist {
		return nil, s.result(f.tag, BadVersion)
	}
	switch f.message {
	case msgListen:
		return s.listen(f.tag, nil), nil
	case msgConnect:
		r, err := decodeConnect(f.body)
		if err != nil {
			return nil, s.result(f.tag, BadCommand)
		}
		return s.connect(f.tag, r.device, r.port)
	case msgPlist:
		s.version = versionPlist
		d, err := plist.DecodeDict(f.body)
		name, ok := d.String("MessageType")
		if err != nil || !ok {
			// usbmuxd does not answer here, and its client waits without end.
			return nil, errors.Join(s.result(f.tag, BadCommand), errDone)
		}
		return s.request(f.tag, name, d)
	}
	return nil, s.result(f.tag, BadCommand)
}

func (s *session) request(tag uint32, name string, d plist.Dict) (next func() error, err error) {
	switch name {
	case "ListDevices":
		return nil, s.reply(tag, plist.Dict{"DeviceList": s.m.list()})
	case "ListListeners":
		return nil, s.reply(tag, plist.Dict{"ListenerList": s.m.listeners()})
	case "ReadBUID":
		return nil, s.reply(tag, plist.Dict{"BUID": s.m.buid})
	case "Listen":
		return s.listen(tag, d), nil
	case "Connect":
		id, ok := deviceID(d)
		if !ok {
			return nil, s.result(tag, BadDevice)
		}
		port, ok := d.Int("PortNumber")
		if !ok {
			return nil, s.result(tag, BadCommand)
		}
		return s.connect(tag, id, swapPort(uint16(port)))
	case "ReadPairRecord", "SavePairRecord", "DeletePairRecord":
		return nil, s.record(tag, name, d)
	}
	return nil, s.result(tag, BadCommand)
}

func (s *session) send(f frame) error {
	_, err := s.c.Write(appendFrame(nil, f))
	return err
}

func (s *session) result(tag uint32, r Result) error {
	return s.send(resultFrame(s.version, tag, r))
}

func (s *session) reply(tag uint32, d plist.Dict) error {
	f, err := plistFrame(tag, d)
	if err != nil {
		return err
	}
	return s.send(f)
}

func (m *Muxer) list() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []any{}
	for _, d := range m.present() {
		list = append(list, encodeEntry(d.entry))
	}
	return list
}

// plainText replaces the control characters in text from a client, because the answers
// to other clients are XML.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xFFFE || r == 0xFFFF {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (m *Muxer) listeners() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.SortedFunc(maps.Keys(m.listening),
		func(a, b *session) int { return a.number - b.number })
	list := []any{}
	for _, s := range all {
		program, ok := s.client.String("ProgName")
		if !ok {
			program = "unknown"
		}
		program = plainText(program)
		version, _ := s.client.Int("kLibUSBMuxVersion")
		d := plist.Dict{
			"Blacklisted": false, "ConnType": int64(0), "ProgName": program,
			"ID String": strconv.Itoa(s.number) + "-" + program, "kLibUSBMuxVersion": version,
		}
		if id, ok := s.client.String("BundleID"); ok {
			d["BundleID"] = plainText(id)
		}
		list = append(list, d)
	}
	return list
}

// connect makes the connection a pipe to a port of a device.
func (s *session) connect(tag, id uint32, port uint16) (next func() error, err error) {
	d, ok := s.m.acquire(id)
	if !ok {
		return nil, s.result(tag, BadDevice)
	}
	serve, err := s.open(d, port)
	if err != nil || serve == nil {
		d.pipes.Done()
		s.m.log.DebugContext(s.ctx, "connection refused", "udid", d.UDID, "port", port, "error",
			err)
		return nil, s.result(tag, ConnectionRefused)
	}
	return func() error {
		defer d.pipes.Done()
		ctx, cancel := context.WithCancel(d.ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		defer context.AfterFunc(ctx, func() { s.c.Close() })()
		err := s.result(tag, OK)
		if err != nil {
			s.c.Close()
			cancel()
		}
		serve(ctx, s.c)
		if ctx.Err() == nil {
			link.Linger(s.c, lingerTime)
		}
		return err
	}, nil
}

// open returns the function that serves a port of a device, or nil if there is none.
func (s *session) open(
	d *plugged, port uint16,
) (serve func(context.Context, net.Conn), err error) {
	switch {
	case d.Dial != nil:
		ctx, cancel := context.WithTimeout(d.ctx, connectTimeout)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		remote, err := d.Dial(ctx, port)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, c net.Conn) {
			defer remote.Close()
			defer context.AfterFunc(ctx, func() { remote.Close() })()
			link.Join(c, remote)
		}, nil
	case d.Open != nil:
		return d.Open(port)
	}
	return nil, nil
}

// record answers the requests about pair records. Their results are errno values.
func (s *session) record(tag uint32, name string, d plist.Dict) error {
	id, ok := d.String("PairRecordID")
	if !ok || !safeName(id) {
		return s.result(tag, InvalidArgument)
	}
	var err error
	switch name {
	case "ReadPairRecord":
		var b []byte
		b, err = s.m.records.Read(id)
		if err == nil {
			return s.reply(tag, plist.Dict{"PairRecordData": b})
		}
	case "DeletePairRecord":
		err = s.m.records.Delete(id)
	case "SavePairRecord":
		data, _ := d.Data("PairRecordData")
		record, bad := plist.DecodeDict(data)
		if bad != nil {
			return s.result(tag, InvalidArgument)
		}
		// The record is stored as XML in any case, because some readers cannot read
		// other forms.
		data, err = plist.Encode(record, plist.XML)
		if err == nil {
			err = s.m.records.Write(id, data)
		}
		if err == nil {
			// The event is sent before the answer, so that a client that gets the
			// answer can rely on the listeners having the event.
			if device, ok := deviceID(d); ok {
				s.m.paired(device, id)
			}
		}
	}
	return s.result(tag, recordResult(err))
}

func recordResult(err error) Result {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrPermission):
		return noPermission
	}
	return ioFailure
}

// safeName reports whether a record's id is safe as the name of a file.
func safeName(id string) bool {
	return id != "" && !strings.ContainsAny(id, "/\\\x00") && !strings.Contains(id, "..")
}

// listen makes the session a listener. It queues the result and the connected devices
// in the same step in which it registers the session, so that no event is lost or sent
// twice.
func (s *session) listen(tag uint32, client plist.Dict) func() error {
	return func() error {
		m := s.m
		m.mu.Lock()
		m.lastSession++
		s.number, s.client = m.lastSession, client
		s.out.init(func() { s.c.Close() })
		s.out.push(appendFrame(nil, resultFrame(s.version, tag, OK)))
		for _, d := range m.present() {
			s.out.push(mustEncode(s.version, Event{Attached, d.entry}))
		}
		s.out.limit = len(s.out.queue) + eventQueue
		m.listening[s] = struct{}{}
		m.mu.Unlock()

		var writer sync.WaitGroup
		writer.Go(func() { s.out.drain(s.c) })
		f, err := readFrame(s.c, maxRequest)
		m.mu.Lock()
		delete(m.listening, s)
		m.mu.Unlock()
		var length *LengthError
		if err == nil || errors.As(err, &length) {
			// A listening connection does not accept requests. The client gets an
			// error, and the connection ends.
			s.out.push(appendFrame(nil, resultFrame(s.version, f.tag, BadCommand)))
			_ = s.c.SetWriteDeadline(time.Now().Add(lingerTime))
		} else {
			s.c.Close()
		}
		s.out.finish()
		writer.Wait()
		return err
	}
}
