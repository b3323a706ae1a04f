package afc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/savefile"
)

// Transfer says how a file is copied. The zero value is good.
type Transfer struct {
	// Piece is how many bytes one packet asks for or carries; 0 is 1 MiB, the
	// most is 4 MiB. Over a real cable each packet costs a round trip through
	// the device's daemon; on loopback smaller ones stay in the processor's
	// caches and are a little faster.
	Piece int
	// InFlight is how many packets, and in a tree how many files, are under
	// way at once; 0 is 4.
	InFlight int
	// Progress is called after each piece with the bytes copied so far and
	// the total, -1 if that is not known. Calls come one at a time.
	Progress func(done, total int64)
	// Idle is how long the transfer waits while not a byte moves, in either
	// direction, before it ends with a link.SilentError; 0 is 30 seconds, and
	// below 0 there is no limit. The connection ends with it: on one on which the
	// device owes an answer, no later call would get its own.
	Idle time.Duration

	// goos is the system whose names PullTree gives files; "" is this one.
	goos string
	// stop, when set, is asked before each piece. Ending a context instead
	// might cut a request in two and cost the connection.
	stop func() error
	// growth is how much longer than expected a file may get; 0 is MaxGrowth.
	growth int64
}

const (
	defaultPiece    = 1 << 20
	defaultInFlight = 4
	defaultIdle     = 30 * time.Second
	maxInFlight     = 64
	// probe is the length of the read that finds the end of a file.
	probe = 4 << 10
	// farewell bounds the closing of a file after its copy was cancelled.
	farewell = 2 * time.Second
)

func (t Transfer) withDefaults() Transfer {
	if t.Piece <= 0 {
		t.Piece = defaultPiece
	}
	t.Piece = min(t.Piece, maxRead)
	if t.InFlight <= 0 {
		t.InFlight = defaultInFlight
	}
	t.InFlight = min(t.InFlight, maxInFlight)
	if t.growth <= 0 {
		t.growth = MaxGrowth
	}
	if t.Progress == nil {
		t.Progress = func(int64, int64) {}
	}
	if t.Idle == 0 {
		t.Idle = defaultIdle
	}
	if t.goos == "" {
		t.goos = runtime.GOOS
	}
	if t.stop == nil {
		t.stop = func() error { return nil }
	}
	return t
}

// pieces recycles buffers of the lengths that occur, from one transfer to the next. A
// transfer keeps its own while it lasts: the garbage collector empties a pool.
var pieces = [...]struct {
	size int
	pool sync.Pool
}{{size: chunk}, {size: defaultPiece}, {size: maxRead}}

// newPiece returns a buffer of at least n bytes, at most maxRead.
func newPiece(n int) *[]byte {
	if n >= defaultPiece/4 {
		for i := range pieces {
			if p := &pieces[i]; n <= p.size {
				if b, ok := p.pool.Get().(*[]byte); ok {
					return b
				}
				n = p.size
				break
			}
		}
	}
	b := make([]byte, n)
	return &b
}

func freePiece(b *[]byte) {
	for i := range pieces {
		if p := &pieces[i]; len(*b) == p.size {
			p.pool.Put(b)
		}
	}
}

// Pull copies a file from the device to w and returns how many bytes it was.
// Several reads are under way at once; w is written to in order, from the
// goroutine of the caller, while the next pieces arrive.
func (c *Client) Pull(ctx context.Context, remote string, w io.Writer, t Transfer) (int64, error) {
	t = t.withDefaults()
	ctx, stop := c.watched(ctx, t.Idle)
	defer stop()
	stat, err := c.startStat(ctx, remote) // its answer comes with that of open
	if err != nil {
		return 0, err
	}
	f, err := c.Open(ctx, remote, ModeRead)
	if err != nil {
		c.forget(stat)
		return 0, err
	}
	info, err := c.endStat(ctx, remote, stat)
	if err != nil {
		f.abandon(ctx)
		return 0, err
	}
	size := info.Size
	if info.Kind == Symlink || info.Odd != nil {
		if size, err = f.measure(ctx); err != nil {
			f.abandon(ctx)
			return 0, err
		}
	}
	return f.pull(ctx, w, size, t)
}

// measure finds the size of an open file; Stat would tell that of the link.
func (f *File) measure(ctx context.Context) (int64, error) {
	size, err := f.Seek(ctx, 0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	_, err = f.Seek(ctx, 0, io.SeekStart)
	return size, err
}

// abandon closes the file after a failure, even if ctx has ended. It does not
// wait for the answer of the device.
func (f *File) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_, _ = f.startClose(ctx) // the failure before counts
}

// undo removes what a failed push has made, even if ctx has ended, and closes
// it if f is not nil. It does not wait for the answers of the device.
func (c *Client) undo(ctx context.Context, f *File, temp string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if f != nil {
		_, _ = f.startClose(ctx) // the failure before counts
	}
	args, err := pathArgs("remove", nil, temp)
	if temp != "" && err == nil {
		_, _ = c.start(ctx, request{op: opRemove, args: args, want: opStatus})
	}
}

// piece is a read or a write under way.
type piece struct {
	*call
	buf   *[]byte
	asked int
}

// puller copies an open file.
type puller struct {
	f     *File
	t     Transfer
	size  int64 // as the device told it, or more as the file grows
	most  int64 // what the file may grow to
	asked int64 // bytes that answers under way or received account for
	got   int64
	queue []piece
	spare []*[]byte // buffers of earlier pieces
	end   bool      // an empty answer came
	tail  bool      // a read behind the size is under way
}

// pull copies the file from its position, where size bytes are expected, and
// closes it.
func (f *File) pull(ctx context.Context, w io.Writer, size int64, t Transfer) (int64, error) {
	size = max(size, 0) // what makes no sense says nothing
	p := &puller{f: f, t: t, size: size, most: min(size, MaxFile) + t.growth}
	var err error
	if size > MaxFile {
		err = fail("pull", f.path, &LimitError{"bytes", MaxFile})
	} else {
		err = p.run(ctx, w)
	}
	for _, left := range p.queue {
		// After an error. These buffers are not recycled: their answers may
		// be on the way.
		f.c.forget(left.call)
	}
	for _, b := range p.spare {
		freePiece(b)
	}
	if err != nil {
		f.abandon(ctx)
		return p.got, err
	}
	return p.got, f.Close(ctx)
}

func (p *puller) run(ctx context.Context, w io.Writer) error {
	for {
		for !p.end && !p.tail && len(p.queue) < p.t.InFlight {
			err := p.t.stop()
			if err == nil {
				err = p.ask(ctx)
			}
			if err != nil {
				return fail("pull", p.f.path, err)
			}
		}
		if len(p.queue) == 0 {
			return nil
		}
		if err := p.receive(ctx, w); err != nil {
			return err
		}
	}
}

// ask sends the next read. Behind the expected end it is a short one, that
// should find nothing.
func (p *puller) ask(ctx context.Context) error {
	n := int(min(int64(p.t.Piece), p.size-p.asked))
	if n <= 0 {
		n, p.tail = min(probe, p.t.Piece), true
	}
	b := p.buffer(n)
	k, err := p.f.startRead(ctx, (*b)[:n])
	if err != nil {
		return err
	}
	p.asked += int64(n)
	p.queue = append(p.queue, piece{call: k, buf: b, asked: n})
	return nil
}

// buffer returns a buffer of at least n bytes.
func (p *puller) buffer(n int) *[]byte {
	if last := len(p.spare) - 1; last >= 0 && len(*p.spare[last]) >= n {
		b := p.spare[last]
		p.spare = p.spare[:last]
		return b
	}
	return newPiece(n)
}

// receive takes the oldest answer.
func (p *puller) receive(ctx context.Context, w io.Writer) error {
	k := p.queue[0]
	if err := p.f.c.result(ctx, "pull", p.f.path, k.call); err != nil {
		return err
	}
	p.queue = p.queue[:copy(p.queue, p.queue[1:])]
	p.spare = append(p.spare, k.buf) // the next read comes after this function
	n := len(k.data)
	if n == 0 {
		p.end = true
		return nil
	}
	// A short answer leaves the rest to the reads behind it; what they were
	// to bring is then still to be asked for.
	p.asked -= int64(k.asked - n)
	if len(p.queue) == 0 {
		p.tail = false
	}
	if p.got+int64(n) > p.most {
		return fail("pull", p.f.path, &LimitError{"bytes", p.most})
	}
	if _, err := w.Write(k.data); err != nil {
		return fail("pull", p.f.path, err)
	}
	p.got += int64(n)
	p.size = max(p.size, p.got)
	p.t.Progress(p.got, p.size)
	return nil
}

// Push copies r to a file on the device, which is made or replaced, and
// returns how many bytes it was. Several writes are under way at once. The file
// has its name when it is complete; after an error the connection of which is
// over, a file ".imdlua-..." may be left beside it. A later push into the folder removes
// it, once it is old enough to belong to no push that still runs.
func (c *Client) Push(ctx context.Context, r io.Reader, remote string, t Transfer) (int64, error) {
	t = t.withDefaults()
	ctx, stop := c.watched(ctx, t.Idle)
	defer stop()
	return c.push(ctx, r, remote, sizeOf(r), t)
}

// sizeOf tells how many bytes r will give, -1 if it does not say.
func sizeOf(r io.Reader) int64 {
	switch r := r.(type) {
	case interface{ Len() int }:
		return int64(r.Len())
	case *os.File:
		info, err := r.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return -1
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return -1
		}
		return info.Size() - at
	}
	return -1
}

func (c *Client) push(
	ctx context.Context, r io.Reader, remote string, size int64, t Transfer,
) (int64, error) {
	f, temp, err := c.openToPush(ctx, remote)
	if err != nil {
		return 0, err
	}
	p := &pusher{f: f, t: t, r: r, size: size, buf: newPiece(pushPiece(t, size))}
	err = p.run(ctx)
	freePiece(p.buf) // nobody reads from it: every start has returned
	if err == nil && temp != "" {
		err = c.Rename(ctx, temp, remote)
	}
	if err == nil {
		c.tidy(ctx, remote)
		return p.got, nil
	}
	c.undo(ctx, f, temp)
	return p.got, err
}

// openToPush opens a new file beside remote, temp, that takes its place when it
// is complete. Where that cannot be, temp is "" and remote itself is opened: what
// is there may not be a regular file, or the device may not allow another one.
func (c *Client) openToPush(ctx context.Context, remote string) (f *File, temp string, err error) {
	info, err := c.Stat(ctx, remote)
	if err == nil && info.Kind == Regular || errors.Is(err, fs.ErrNotExist) {
		temp = path.Join(path.Dir(remote), savefile.Temporary())
		f, err = c.Open(ctx, temp, ModeWrite)
		if err == nil {
			f.path = remote // in errors
			return f, temp, nil
		}
	}
	var refusal *Error
	if err != nil && (!errors.As(err, &refusal) || refusal.Status == Success) {
		c.undo(ctx, nil, temp) // the device may be about to make it
		return nil, "", err
	}
	f, err = c.Open(ctx, remote, ModeWrite)
	return f, "", err
}

// pusher copies to an open file.
type pusher struct {
	f     *File
	t     Transfer
	r     io.Reader
	size  int64 // -1 if not known
	got   int64 // bytes the device has acknowledged
	buf   *[]byte
	queue []piece
}

// pushPiece is how much of a file of a size is sent at once.
func pushPiece(t Transfer, size int64) int {
	if size >= 0 && size < int64(t.Piece) {
		return min(max(int(size), probe), t.Piece)
	}
	return t.Piece
}

func (p *pusher) run(ctx context.Context) error {
	for more := true; more; {
		if len(p.queue) == p.t.InFlight {
			if err := p.receive(ctx); err != nil {
				return err
			}
		}
		if err := p.t.stop(); err != nil {
			return fail("push", p.f.path, err)
		}
		var err error
		if more, err = p.send(ctx); err != nil {
			return err
		}
	}
	closing, err := p.f.startClose(ctx)
	if err != nil {
		return fail("push", p.f.path, err)
	}
	for len(p.queue) > 0 {
		if err := p.receive(ctx); err != nil {
			return err
		}
	}
	return p.f.c.result(ctx, "close", p.f.path, closing)
}

// send reads the next piece and sends it; it reports whether there may be
// more.
func (p *pusher) send(ctx context.Context) (bool, error) {
	b := (*p.buf)[:min(pushPiece(p.t, p.size), len(*p.buf))]
	m, err := io.ReadFull(p.r, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, fail("push", p.f.path, err)
	}
	if m == 0 {
		return false, nil
	}
	r := request{op: opWrite, data: b[:m], want: opStatus}
	k, startErr := p.f.start(ctx, r)
	if startErr != nil {
		return false, fail("push", p.f.path, startErr)
	}
	p.queue = append(p.queue, piece{call: k, asked: m})
	return err == nil, nil
}

func (p *pusher) receive(ctx context.Context) error {
	k := p.queue[0]
	if err := p.f.c.result(ctx, "push", p.f.path, k.call); err != nil {
		return err
	}
	p.queue = p.queue[:copy(p.queue, p.queue[1:])]
	p.got += int64(k.asked)
	total := p.size
	if total >= 0 {
		total = max(total, p.got)
	}
	p.t.Progress(p.got, total)
	return nil
}

// ReadFile returns the content of a file. One that is longer than MaxWhole is ErrTooLarge.
func (c *Client) ReadFile(ctx context.Context, file string) ([]byte, error) {
	return c.ReadFileLimit(ctx, file, MaxWhole)
}

// ReadFileLimit is ReadFile with another limit.
func (c *Client) ReadFileLimit(ctx context.Context, file string, limit int64) ([]byte, error) {
	b := limited{limit: limit}
	if _, err := c.Pull(ctx, file, &b, Transfer{}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// limited is a buffer of a file.
type limited struct {
	bytes.Buffer
	limit int64
}

// Write fails when the file gets longer than the limit.
func (b *limited) Write(p []byte) (int, error) {
	if int64(b.Len()+len(p)) > b.limit {
		return 0, &LimitError{"bytes", b.limit}
	}
	return b.Buffer.Write(p)
}

// WriteFile makes or replaces a file, as Push does.
func (c *Client) WriteFile(ctx context.Context, file string, b []byte) error {
	_, err := c.Push(ctx, bytes.NewReader(b), file, Transfer{})
	return err
}
