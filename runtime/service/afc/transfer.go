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

// Transfer says how a file is copied. The zero value is a good default.
type Transfer struct {
	// Piece is the number of bytes that one packet requests or carries. 0 means 1 MiB;
	// the maximum is 4 MiB. Over a cable each packet costs a round trip through the
	// daemon of the device. Over loopback smaller pieces stay in the caches of the
	// processor and are a little faster.
	Piece int
	// InFlight is the number of packets that wait for an answer at the same time. For a
	// tree it is also the number of files that are copied at the same time. 0 means 4.
	InFlight int
	// Progress is called after each piece with the number of bytes copied so far and
	// the total, which is -1 if it is not known. Only one call is made at a time.
	Progress func(done, total int64)
	// Idle is how long the transfer waits while no byte moves in either direction.
	// After this time it ends with a link.SilentError. 0 means 30 seconds; a negative
	// value means no limit. The connection ends too, because the device still owes an
	// answer, and later calls would not get theirs.
	Idle time.Duration

	// goos is the system whose file names PullTree uses; "" means the current system.
	goos string
	// stop, if not nil, is called before each piece; an error ends the transfer. Ending
	// the context instead could interrupt a request and cost the connection.
	stop func() error
	// growth is how much longer than expected a file may get; 0 means MaxGrowth.
	growth int64
}

const (
	defaultPiece    = 1 << 20
	defaultInFlight = 4
	defaultIdle     = 30 * time.Second
	maxInFlight     = 64
	// probe is the length of the read that detects the end of a file.
	probe = 4 << 10
	// farewell bounds the time to close a file after its copy was cancelled.
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

// pieces holds buffers of the usual lengths, for use by the next transfers. A transfer
// keeps its own buffers while it runs, because the garbage collector empties a pool.
var pieces = [...]struct {
	size int
	pool sync.Pool
}{{size: chunk}, {size: defaultPiece}, {size: maxRead}}

// newPiece returns a buffer of at least n bytes. n must be at most maxRead.
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

// Pull copies a file from the device to w and returns its length. Several reads are
// pending at the same time. Pull writes to w in order and on the goroutine of the
// caller, while the next pieces arrive.
func (c *Client) Pull(ctx context.Context, remote string, w io.Writer, t Transfer) (int64, error) {
	t = t.withDefaults()
	ctx, stop := c.watched(ctx, t.Idle)
	defer stop()
	stat, err := c.startStat(ctx, remote) // its answer arrives together with that of open
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
		size, err = f.measure(ctx)
		if err != nil {
			f.abandon(ctx)
			return 0, err
		}
	}
	return f.pull(ctx, w, size, t)
}

// measure returns the size of an open file. Stat would return that of a symbolic link.
func (f *File) measure(ctx context.Context) (int64, error) {
	size, err := f.Seek(ctx, 0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	_, err = f.Seek(ctx, 0, io.SeekStart)
	return size, err
}

// abandon closes the file after a failure, even if ctx has ended. It does not wait for
// the answer of the device.
func (f *File) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_, _ = f.startClose(ctx) // the earlier failure is returned
}

// undo removes the file that a failed push has created, even if ctx has ended. If f is
// not nil, it closes f. It does not wait for the answers of the device.
func (c *Client) undo(ctx context.Context, f *File, temp string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if f != nil {
		_, _ = f.startClose(ctx) // the earlier failure is returned
	}
	args, err := pathArgs("remove", nil, temp)
	if temp != "" && err == nil {
		_, _ = c.start(ctx, request{op: opRemove, args: args, want: opStatus})
	}
}

// piece is a read or a write that has not been answered.
type piece struct {
	*call
	buf   *[]byte
	asked int
}

// puller copies an open file.
type puller struct {
	f     *File
	t     Transfer
	size  int64 // as reported by the device, or more if the file grows
	most  int64 // limit on the size of the file
	asked int64 // bytes covered by answers that are received or pending
	got   int64
	queue []piece
	spare []*[]byte // buffers of earlier pieces
	end   bool      // an empty answer has arrived
	tail  bool      // a read beyond the size is pending
}

// pull copies the file from its position to its end, and closes it. The device reported
// size bytes.
func (f *File) pull(ctx context.Context, w io.Writer, size int64, t Transfer) (int64, error) {
	size = max(size, 0) // a negative size is treated as unknown
	p := &puller{f: f, t: t, size: size, most: min(size, MaxFile) + t.growth}
	var err error
	if size > MaxFile {
		err = fail("pull", f.path, &LimitError{"bytes", MaxFile})
	} else {
		err = p.run(ctx, w)
	}
	for _, left := range p.queue {
		// There was an error. These buffers are not recycled, because their answers may
		// still arrive.
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

// ask sends the next read. Beyond the expected end of the file it sends a short read,
// which should return nothing.
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

// receive receives the oldest pending answer.
func (p *puller) receive(ctx context.Context, w io.Writer) error {
	k := p.queue[0]
	if err := p.f.c.result(ctx, "pull", p.f.path, k.call); err != nil {
		return err
	}
	p.queue = p.queue[:copy(p.queue, p.queue[1:])]
	p.spare = append(p.spare, k.buf) // the next read follows this function
	n := len(k.data)
	if n == 0 {
		p.end = true
		return nil
	}
	// After a short answer the following reads return the data that is missing. The
	// bytes that these reads were meant for have to be requested again.
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

// Push copies r to a file on the device, which it creates or replaces, and returns the
// number of bytes. Several writes are pending at the same time. The file gets its name
// only when it is complete. If the connection ends during a push, a file ".imdlua-..."
// may remain in the directory. A later push into the directory removes it, once it is
// too old to belong to a push that still runs.
func (c *Client) Push(ctx context.Context, r io.Reader, remote string, t Transfer) (int64, error) {
	t = t.withDefaults()
	ctx, stop := c.watched(ctx, t.Idle)
	defer stop()
	return c.push(ctx, r, remote, sizeOf(r), t)
}

// sizeOf returns the number of bytes that r will return, or -1 if it is not known.
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
	freePiece(p.buf) // every start has returned, so no goroutine reads from it
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

// openToPush creates the file temp beside remote. Temp replaces remote when it is
// complete. If that is not possible, openToPush returns "" for temp and opens remote
// itself. This happens if remote is not a regular file or if the device does not allow
// another file there.
func (c *Client) openToPush(ctx context.Context, remote string) (f *File, temp string, err error) {
	info, err := c.Stat(ctx, remote)
	if err == nil && info.Kind == Regular || errors.Is(err, fs.ErrNotExist) {
		temp = path.Join(path.Dir(remote), savefile.Temporary())
		f, err = c.Open(ctx, temp, ModeWrite)
		if err == nil {
			f.path = remote // for errors
			return f, temp, nil
		}
	}
	var refusal *Error
	if err != nil && (!errors.As(err, &refusal) || refusal.Status == Success) {
		c.undo(ctx, nil, temp) // the device may still create it
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
	got   int64 // bytes acknowledged by the device
	buf   *[]byte
	queue []piece
}

// pushPiece returns the number of bytes to send at once of a file with the given size.
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
		more, err = p.send(ctx)
		if err != nil {
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

// send reads the next piece and sends it. It reports whether more may follow.
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

// ReadFile returns the content of a file. The error matches ErrTooLarge if the file is
// longer than MaxWhole.
func (c *Client) ReadFile(ctx context.Context, file string) ([]byte, error) {
	return c.ReadFileLimit(ctx, file, MaxWhole)
}

// ReadFileLimit is like ReadFile, but with the given limit instead of MaxWhole.
func (c *Client) ReadFileLimit(ctx context.Context, file string, limit int64) ([]byte, error) {
	b := limited{limit: limit}
	if _, err := c.Pull(ctx, file, &b, Transfer{}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// limited is a buffer with a maximum length for the content of a file.
type limited struct {
	bytes.Buffer
	limit int64
}

// Write fails if the content would exceed the limit.
func (b *limited) Write(p []byte) (int, error) {
	if int64(b.Len()+len(p)) > b.limit {
		return 0, &LimitError{"bytes", b.limit}
	}
	return b.Buffer.Write(p)
}

// WriteFile creates or replaces a file, as Push does.
func (c *Client) WriteFile(ctx context.Context, file string, b []byte) error {
	_, err := c.Push(ctx, bytes.NewReader(b), file, Transfer{})
	return err
}
