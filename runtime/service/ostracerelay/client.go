package ostracerelay

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Client is a connection to the service. It serves one request: PidList, StartActivity
// or CreateArchive.
type Client struct {
	conn *link.PlistConn
	used atomic.Bool
	once sync.Once
}

// Connect opens the service on a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return service.Connect(ctx, o, Service, &errs, New)
}

// New returns a client on a connection to the service. Close closes c.
func New(c net.Conn) *Client {
	return &Client{conn: &link.PlistConn{Conn: c, Format: plist.Binary}}
}

// Close closes the connection and ends all calls on it.
func (c *Client) Close() error {
	var err error
	c.once.Do(func() { err = c.conn.Close() })
	return err
}

// Process is one entry of the list of processes.
type Process struct {
	PID  int
	Name string // short name
}

// PidList returns the processes that can log, sorted by PID. It leaves out entries that
// cannot be decoded, see link.PassOver.
func (c *Client) PidList(ctx context.Context) ([]Process, error) {
	const op = "pid list"
	reply, err := c.request(ctx, op, plist.Dict{"Request": "PidList"})
	if err != nil {
		return nil, err
	}
	payload, ok := reply.Dict("Payload")
	if !ok {
		return nil, errs.New(op, "", fmt.Errorf("%w: no Payload", ErrProtocol))
	}
	keys := slices.Sorted(maps.Keys(payload))
	list, err := link.DecodeList(ctx, keys, func(key string) (Process, error) {
		pid, err := strconv.ParseUint(key, 10, 31)
		if err != nil {
			return Process{}, errs.New(op, "",
				fmt.Errorf("%w: process id %q", ErrProtocol, link.Clip(key)))
		}
		info, _ := payload.Dict(key)
		name, _ := info.String("ProcessName")
		return Process{PID: int(pid), Name: name}, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b Process) int { return a.PID - b.PID })
	return list, nil
}

// Activity selects the records that a stream delivers. The zero value selects all. The
// device filters the records before it sends them.
type Activity struct {
	PID    int  // only this process; 0 means all
	Kernel bool // only the kernel, whose PID is 0
	// MessageFilter selects the kinds of records; 0 means FilterAll.
	MessageFilter uint32
	// StreamFlags are the flags of the stream; 0 means payload, historical, callstack
	// and debug, which is what all known clients send.
	StreamFlags uint32
	// NoDebug excludes Info and Debug records.
	NoDebug bool
}

func (a Activity) request() plist.Dict {
	pid, filter, flags := int64(a.PID), a.MessageFilter, a.StreamFlags
	if pid == 0 && !a.Kernel {
		pid = -1
	}
	if filter == 0 {
		filter = FilterAll
	}
	if flags == 0 {
		flags = defaultFlags
	}
	if a.NoDebug {
		flags &^= FlagDebug
	}
	return plist.Dict{
		"Request": "StartActivity", "Pid": pid,
		"MessageFilter": int64(filter), "StreamFlags": int64(flags),
	}
}

// StartActivity starts the live stream. The stream takes over the client: closing
// either of them closes both.
func (c *Client) StartActivity(ctx context.Context, a Activity) (*Stream, error) {
	if _, err := c.request(ctx, "start activity", a.request()); err != nil {
		return nil, err
	}
	return &Stream{client: c}, nil
}

// ArchiveOptions bounds the content of an archive. A zero field means no bound.
type ArchiveOptions struct {
	SizeLimit int64     // bytes
	AgeLimit  int       // days
	StartTime time.Time // time of the oldest record, to the second
	// Idle is how long the transfer waits while the device sends nothing. After this
	// time it ends with a link.SilentError. 0 means 30 seconds; a negative value means
	// no limit.
	Idle time.Duration
}

// CreateArchive writes the stored log of the device to w and returns its size. The data
// is a tar stream of the contents of a .logarchive directory. The device ends the
// archive by closing the connection. The error is io.ErrUnexpectedEOF if the connection
// ends inside a file of the archive.
func (c *Client) CreateArchive(ctx context.Context, w io.Writer, o ArchiveOptions) (int64, error) {
	const op = "create archive"
	req := plist.Dict{"Request": "CreateArchive"}
	if o.SizeLimit > 0 {
		req["SizeLimit"] = o.SizeLimit
	}
	if o.AgeLimit > 0 {
		req["AgeLimit"] = int64(o.AgeLimit)
	}
	if !o.StartTime.IsZero() {
		req["StartTime"] = o.StartTime.Unix()
	}
	ctx, in, stop := link.Idle(ctx, c.conn, o.Idle)
	defer stop()
	if _, err := c.request(ctx, op, req); err != nil {
		return 0, err
	}
	release := link.GuardRead(ctx, c.conn)
	n, err := copyWhole(w, in)
	err = release(err)
	if err != nil {
		return n, errs.New(op, "", err)
	}
	return n, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// request sends the only request of the connection and reads the reply.
func (c *Client) request(ctx context.Context, op string, req plist.Dict) (plist.Dict, error) {
	if err := ctx.Err(); err != nil {
		return nil, errs.New(op, "", err)
	}
	if c.used.Swap(true) {
		return nil, errs.New(op, "", ErrUsed)
	}
	if err := c.conn.Send(ctx, req); err != nil {
		return nil, errs.New(op, "", err)
	}
	release := link.GuardRead(ctx, c.conn)
	reply, err := readReply(c.conn)
	err = release(err)
	if err != nil {
		return nil, errs.New(op, "", err)
	}
	if status, _ := reply.String("Status"); status != statusOK {
		if status == "" {
			status = "no status, keys " + fmt.Sprint(slices.Sorted(maps.Keys(reply)))
		}
		return nil, errs.New(op, "", fmt.Errorf("%s: %w", status, ErrRefused))
	}
	return reply, nil
}

func readReply(r io.Reader) (plist.Dict, error) {
	var h [5]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, unexpected(err)
	}
	if h[0] != typeReply {
		return nil, fmt.Errorf("%w: type %d, want a reply", ErrProtocol, h[0])
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > MaxReply {
		return nil, &link.FrameError{Length: n, Max: MaxReply}
	}
	body, err := link.ReadN(r, int(n), nil)
	if err != nil {
		return nil, err
	}
	return plist.DecodeDict(body)
}
